"""One job on a worker: the command is started, watched, stopped when that is wanted, and its end is told."""

import json
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import AutocompressError, TargetUnavailable
from ...files import digest_of_file
from ...nightly.commands import error_in
from ...results.run_lock import holder
from ...text.printable import printable
from ..config import ServeConfig
from ..order import Order
from ..upload_kinds import KINDS, kind_of, kinds_of
from ..uploads import PREFIX, uploads_in, with_paths
from .child import start
from .connection import Connection, RefusedError
from .said import Said
from .syncing import Syncing

_BAD_INPUT, _INTERRUPTED = 2, 130
_PATIENCE_S = 300.0  # from a request to stop until it is killed
_LARGEST_LOG = 1 << 20
_GONE = (404, 409, 410)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a worker works: `folder` has the runs, each called as its job; `beat_s` is the time between two
    heartbeats; `shares_disk`: the folder is the service's own.
    """

    folder: Path
    config: ServeConfig
    variables: Mapping[str, str] = field(default_factory=dict)
    beat_s: float = 1.0
    shares_disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A job that is this worker's as long as it reports within `lease_s`."""

    id: str
    attempt: int
    lease_s: float
    order: Order

    @classmethod
    def from_json(cls, value: Any) -> "Claimed":
        """The answer to a claim. RefusedError when it is none."""
        try:
            order = Order.from_json(value["order"])
            if re.fullmatch(r"[0-9a-f]{1,24}", value["id"]) is None:
                raise ValueError("its id is none")
            lease_s = float(value["lease_s"])
            return cls(id=value["id"], attempt=int(value["attempt"]), lease_s=lease_s, order=order)
        except (KeyError, TypeError, ValueError) as error:
            raise RefusedError(f"The service sent a job that is none ({error}).", status=502) from error


class Searching:
    """A job that this worker has. `ends` is set when the worker should end."""

    def __init__(self, job: Claimed, place: Place, connection: Connection, *, ends: Callable[[], bool]):
        self._id, self._attempt, self._lease_s, self._order = job.id, job.attempt, job.lease_s, job.order
        self._place, self._connection, self._ends = place, connection, ends
        self._run = place.folder / self._id
        self._weights = place.folder.parent / "fetched" / self._id
        self._lost = False
        self._heard = time.monotonic()
        self._asked_to_stop: float | None = None
        self._syncing = None if place.shares_disk else Syncing(self._run, self._id, self._attempt, connection)

    def run(self) -> None:
        """Runs the command to its end, and tells it. Never raises for what happens to the command."""
        self._run.parent.mkdir(parents=True, exist_ok=True)
        logs = self._place.folder.parent / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        output, errors = logs / f"{self._id}.{self._attempt}.jsonl", logs / f"{self._id}.{self._attempt}.log"
        output.touch()
        said = Said(output)
        try:
            words = self._words()
            if self._syncing is not None:
                self._syncing.fetch()
            code, message = _INTERRUPTED, ""
            if self._has_the_run(said):
                code, message = self._command(words, output, errors, said)
        except AutocompressError as error:
            code, message = _BAD_INPUT, str(error)
        shutil.rmtree(self._weights, ignore_errors=True)
        self._tell_end(said, code, message)

    def _words(self) -> list[str]:
        source = self._place.config.tasks.get(self._order.task)
        if source is None:
            raise RefusedError(
                f"This worker has no task {self._order.task!r}: list it in the worker's serve.toml.",
                status=404,
            )
        given = {
            name: self._with_weights(text, kinds_of(source.spec, name))
            for name, text in self._order.arguments.items()
        }
        words = self._order.words(source.spec, {**given, **source.arguments}, self._run)
        return [*words, *self._place.config.search.words]

    def _with_weights(self, text: str, kinds: tuple[str, ...]) -> str:
        """An argument with the file of each upload that it names, as the command finds it: each machine has
        it at the same place of its own folder, so that a run goes on anywhere. RefusedError for one of
        another kind than the argument takes here.
        """
        paths = {}
        for digest in uploads_in(text):
            file = self._weights_file(digest)
            if file.suffix[1:] not in kinds:
                raise RefusedError(
                    f"{PREFIX}{digest} is of another kind than the argument takes by this worker's "
                    "serve.toml: list the same task as the service does.",
                    status=404,
                )
            paths[digest] = file.relative_to(self._place.folder.parent).as_posix()
        return with_paths(text, paths)

    def _weights_file(self, digest: str) -> Path:
        """The file of an upload, fetched unless it is here; its ending is its kind."""
        for kind in KINDS:
            file = self._weights / f"{digest}.{kind}"
            if file.is_file() and digest_of_file(file) == digest:
                return file
        part = self._weights / digest
        part.parent.mkdir(parents=True, exist_ok=True)
        self._connection.fetch(f"/v1/work/{self._id}/weights/{digest}?attempt={self._attempt}", part)
        if digest_of_file(part) != digest:
            part.unlink()
            raise RefusedError(f"{PREFIX}{digest} arrived otherwise than it was sent.", status=502)
        return part.replace(part.with_suffix(f".{kind_of(part)}"))

    def _has_the_run(self, said: Said) -> bool:
        """Waits until the search of an earlier worker, which was told to end, has ended; whether it has."""
        began = time.monotonic()
        while (who := holder(self._run)) and time.monotonic() - began < _PATIENCE_S:
            if self._beat(said) != "run" or self._ends():
                return False
            said.progress["stage"] = f"waiting until {who} has ended"
            time.sleep(self._place.beat_s)
        return not holder(self._run)

    def _command(self, words: list[str], output: Path, errors: Path, said: Said) -> tuple[int, str]:
        """The exit code of the command, and its error in one sentence."""
        place = self._place
        with output.open("ab") as printed, errors.open("ab") as complained:
            child = start(
                words,
                place=place.folder.parent,
                output=printed,
                errors=complained,
                limits=place.config.limits,
                variables=place.variables,
            )
            try:
                code = self._watch(child, said)
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        said.read()
        with errors.open("rb") as file:
            file.seek(max(0, errors.stat().st_size - _LARGEST_LOG))
            message = error_in(file.read().decode(errors="replace"))
        if code < 0 and not message:
            message = f"The search was ended by signal {-code} ({signal.strsignal(-code)})."
        return code, printable(message)

    def _watch(self, child: "subprocess.Popen[bytes]", said: Said) -> int:
        while True:
            try:
                return child.wait(self._place.beat_s)
            except subprocess.TimeoutExpired:
                pass
            said.read()
            wanted = self._beat(said)
            if wanted != "run" or self._ends():
                self._stop(child)

    def _stop(self, child: "subprocess.Popen[bytes]") -> None:
        """Asks it once to stop safely; kills it when it does not."""
        if self._asked_to_stop is None:
            self._asked_to_stop = time.monotonic()
            child.terminate()
        elif time.monotonic() - self._asked_to_stop > _PATIENCE_S:
            child.kill()

    def _beat(self, said: Said) -> str:
        """What is wanted; `stop` when the lease is lost, or must be by now."""
        if self._lost:
            return "stop"
        lines = said.next_lines
        told = {"attempt": self._attempt, "lines": lines, "progress": said.progress}
        try:
            answer = self._connection.ask("POST", f"/v1/work/{self._id}/beat", told)
            self._heard = time.monotonic()
            said.sent(len(lines))
            if self._syncing is not None:
                self._syncing.send()
            return str(answer["wanted"])
        except RefusedError as error:
            self._lost = error.status in _GONE
        except TargetUnavailable:
            self._lost = time.monotonic() - self._heard > self._lease_s
        return "stop" if self._lost else "run"

    def _tell_end(self, said: Said, code: int, message: str) -> None:
        """Tells the end until the service hears it, or the lease is over."""
        while not self._lost:
            told = {"attempt": self._attempt, "lines": said.next_lines, "progress": said.progress}
            try:
                if self._syncing is not None:
                    self._syncing.send(last=True)
                self._connection.ask(
                    "POST", f"/v1/work/{self._id}/end", {**told, "exit_code": code, "message": message}
                )
                return
            except RefusedError as error:
                if error.status in _GONE:
                    return
            except (TargetUnavailable, json.JSONDecodeError):
                pass
            self._lost = time.monotonic() - self._heard > self._lease_s or self._ends()
            time.sleep(self._place.beat_s)


def signalled() -> threading.Event:
    """An event that the first SIGTERM, SIGINT or SIGHUP sets."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: event.set())
    return event
