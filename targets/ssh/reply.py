"""What the agent answers, as records: replies to requests, and what it tells of its machine."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """A file that follows a reply: the key of the request, bytes, and SHA-256."""

    key: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one request. `kind` and `message` say why it is not `ok`.

    A worker's answer is its `line`, with the seconds that it took; `damaged` are the keys of files that did
    not arrive as they were sent. A worker that died has an exit `code`, the `tail` of its standard error, and
    `oom` if the kernel killed it for want of memory. `names` are files that the board lacks, `path` is that
    of a lock which cannot be opened. `missing`, `sudo` and `free_bytes` answer `look`.
    """

    ok: bool
    kind: str = ""
    message: str = ""
    line: bytes = b""
    worker_s: float = 0.0
    damaged: tuple[str, ...] = ()
    code: int = 0
    tail: str = ""
    oom: bool = False
    names: tuple[str, ...] = ()
    path: Path | None = None
    missing: tuple[str, ...] = ()
    sudo: bool = False
    free_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One line of the agent's: the number of the request that it answers (0: a sign of life), and the reply.

    With `has_payload` there follow `line_bytes` of the worker's answer and then the files.
    """

    number: int
    reply: Reply
    has_payload: bool = False
    line_bytes: int = 0
    files: tuple[SentFile, ...] = ()

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """The message of a line. ValueError, TypeError or KeyError for a line that is none."""
        value = json.loads(line)
        number = value["id"]
        if not isinstance(number, int):
            raise TypeError(f"{number!r} is no number of a request")
        if not value.get("payload"):
            return cls(number=number, reply=_reply(value))
        files = tuple(SentFile(**file) for file in value.pop("files"))
        size = value.pop("line")
        return cls(number=number, reply=_reply(value), has_payload=True, line_bytes=size, files=files)


def _reply(value: Any) -> Reply:
    names = {field.name for field in fields(Reply)}
    read = {key: part for key, part in value.items() if key in names}
    lists = {key: tuple(value[key]) for key in ("names", "missing") if key in value}
    path = Path(value["path"]) if value.get("path") else None
    return Reply(**{"ok": True, **read, **lists, "path": path})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The agent's machine. `cores` are those that its processes may use, `folder` is where files are kept.

    `error` (full, folder) and `message` say why the agent cannot work; then it has told nothing else.
    """

    python: str = ""
    executable: str = ""
    machine: str = ""
    hostname: str = ""
    cores: tuple[int, ...] = ()
    folder: str = ""
    free_bytes: int = 0
    pid: int = 0
    error: str = ""
    message: str = ""

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """The machine in the agent's first line. ValueError or TypeError for a line that is none."""
        value: dict[str, Any] = json.loads(line)
        return cls(**{**value, "cores": tuple(value.get("cores", ()))})
