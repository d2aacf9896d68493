"""The files of a run between a worker's own disk and the service: what is new is sent, what is missing here
is fetched.

A run can be continued from these: the study is made again of front.json and log.jsonl.
"""

import hashlib
import re
from pathlib import Path
from urllib.parse import quote

from ...files import is_inside
from .connection import Connection

NAMES = (
    "front.json", "run.toml", "log.jsonl", "report.html", "elapsed", "time.json", "task.json",
    "finalists.json", "r0.jsonl", "caught_up.json",
)  # fmt: skip
_FOLDERS = ("artifacts", "statistics", "finetuned")
_ALLOWED = re.compile(
    rf"(?:{'|'.join(map(re.escape, NAMES))}|(?:{'|'.join(_FOLDERS)})/[A-Za-z0-9_.-]{{1,150}})"
)


def may_be_sent(name: str) -> bool:
    """Whether a file of a run goes between machines by this name."""
    return is_inside(name) and _ALLOWED.fullmatch(name) is not None and not name.endswith(".part")


def files_of(run: Path) -> dict[str, Path]:
    """The files of a run that go between machines, by their names."""
    paths = [run / name for name in NAMES]
    paths += [path for folder in _FOLDERS for path in (run / folder).glob("*")]
    named = {
        path.relative_to(run).as_posix(): path for path in paths if path.is_file() and not path.is_symlink()
    }
    return {name: path for name, path in sorted(named.items()) if may_be_sent(name) and "/." not in name}


class Syncing:
    """The run of one job. Files are told apart by size and time here, by SHA-256 on the way."""

    def __init__(self, run: Path, job_id: str, attempt: int, connection: Connection):
        self._run, self._connection = run, connection
        self._path, self._attempt = f"/v1/work/{job_id}/files", attempt
        self._sent: dict[str, tuple[int, int]] = {}

    def fetch(self) -> None:
        """Fetches what the service has of a run that is not here."""
        if (self._run / "run.toml").is_file():
            return
        for name in self._connection.get(f"{self._path}?attempt={self._attempt}")["files"]:
            if may_be_sent(name):
                (self._run / name).parent.mkdir(parents=True, exist_ok=True)
                self._connection.fetch(self._at(name), self._run / name)

    def send(self, *, last: bool = False) -> None:
        """Sends what changed; front.json after the artifacts that it names. Before the end only when there is
        a new front.
        """
        front = self._run / "front.json"
        if not front.is_file() or (not last and self._state(front) == self._sent.get("front.json")):
            return
        files = files_of(self._run)
        for name in sorted(files, key=lambda one: one == "front.json"):
            state = self._state(files[name])
            if state != self._sent.get(name):
                data = files[name].read_bytes()  # as a whole: a log may grow meanwhile
                digest = hashlib.sha256(data).hexdigest()
                self._connection.send(self._at(name), data, headers={"X-SHA256": digest})
                self._sent[name] = state

    def _at(self, name: str) -> str:
        return f"{self._path}/{quote(name)}?attempt={self._attempt}"

    @staticmethod
    def _state(path: Path) -> tuple[int, int]:
        facts = path.stat()
        return facts.st_size, facts.st_mtime_ns
