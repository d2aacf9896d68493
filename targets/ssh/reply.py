"""What the agent answers, as records: replies to requests, and what it tells of its machine."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A file that a worker wrote: the key of the request, and whether its bytes arrived as they were sent."""

    key: str
    intact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one request. `kind` and `message` say why it is not `ok`.

    A worker's answer is its `line`, with the seconds that it took and the files that it wrote. One that died has
    an exit `code`, the `tail` of its standard error, and `oom` if the kernel killed it for want of memory.
    `names` are files that the board lacks, `path` is that of a lock which cannot be opened. `missing`, `sudo` and
    `free_bytes` answer `look`.
    """

    ok: bool
    kind: str = ""
    message: str = ""
    line: bytes = b""
    worker_s: float = 0.0
    files: tuple[Arrived, ...] = ()
    code: int = 0
    tail: str = ""
    oom: bool = False
    names: tuple[str, ...] = ()
    path: Path | None = None
    missing: tuple[str, ...] = ()
    sudo: bool = False
    free_bytes: int = 0

    @classmethod
    def from_json(
        cls, value: Mapping[str, Any], *, line: bytes = b"", files: tuple[Arrived, ...] = ()
    ) -> Self:
        """The reply in a line of the agent's, with what followed it: a worker's line, and files."""
        names = {field.name for field in fields(cls)}
        read = {key: part for key, part in value.items() if key in names}
        read.update({key: tuple(read[key]) for key in ("names", "missing") if key in read})
        if "path" in read:
            read["path"] = Path(read["path"])
        return cls(**{**read, "line": line, "files": files})


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
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The machine in the agent's first line; keys of another version are left out."""
        names = {field.name for field in fields(cls)}
        read = {key: part for key, part in value.items() if key in names}
        return cls(**{**read, "cores": tuple(value.get("cores", ()))})
