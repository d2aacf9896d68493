"""The agent's sessions: workers that answer requests one at a time, their deadlines, and one that stands by
for the next session.

Nothing is started beside a measurement: a request that is `alone` waits until the standby is ready, and no
standby is started while anything is being asked. Standard library only, Python 3.8.
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Mapping

from .lock import DeviceLock, Refusal
from .store import Store
from .worker import CHUNK, Death, Worker

Facts = Mapping[str, Any]
Say = Callable[[Facts, Iterable[bytes]], None]

STANDBY_WAIT_S = 3.0  # for a standby that still starts when a measurement is to begin
LONGEST_UNASKED = 64 << 20  # bytes that a worker may say before it is asked something


class Job:
    """A request that a worker is to answer. `started` is None while it waits for the standby."""

    def __init__(self, request: Facts, line: bytes, outputs: Mapping[str, str]):
        self.request, self.line, self.outputs = request, line, outputs
        self.waits_until = time.monotonic() + STANDBY_WAIT_S
        self.started: float | None = None
        self.look_at = 0.0  # the time of the next look at its worker

    @property
    def ends(self) -> float:
        """When its time is over."""
        return self.waits_until if self.started is None else self.started + float(self.request["timeout_s"])

    @property
    def next(self) -> float:
        """When something must happen to it."""
        return self.ends if self.started is None else min(self.ends, self.look_at)


class Session:
    """A worker that was opened for the coordinator. `pins` keep the files of its job, and its share of the
    device; `dead` tells how it ended.
    """

    def __init__(self, worker: Worker, folder: Path):
        self.worker, self.folder = worker, folder
        self.job: Job | None = None
        self.dead: Death | None = None
        self.pins: list[int] = []

    def unpin(self) -> None:
        """Lets go of the files and of the device."""
        while self.pins:
            os.close(self.pins.pop())


class Sessions:
    """All sessions. `selector` tells of what workers write, with a callback as its data; replies that come
    later go to `say`.
    """

    def __init__(
        self, store: Store, lock: DeviceLock, selector: selectors.BaseSelector, settings: Facts, say: Say
    ):
        self._store, self._lock, self._selector = store, lock, selector
        self._settings, self._say = settings, say
        self._sessions: dict[int, Session] = {}
        self._standby: Worker | None = None
        self._command: list[str] = []  # of the last session's worker
        self._wanted = False  # a standby, as soon as the coordinator has its reply

    def open(self, request: Facts) -> None:
        """A worker for a session: the one that stands by if it is of the same kind, otherwise a new one."""
        package = self._store.unpacked(request["package"])
        if package is None:
            raise Refusal("missing", names=[request["package"]])
        config = json.dumps(dict(request["config"], announce=True), sort_keys=True)
        command = [self._settings["python"], str(package / request["entry"]), config]
        folder = Path(tempfile.mkdtemp(dir=self._store.own))
        session = Session(self._take_standby(command) or self._start(command), folder)
        self._command, worker = command, session.worker
        self._sessions[request["session"]] = session
        self._selector.register(worker.stdout, selectors.EVENT_READ, lambda: self._hear(session))

    def close(self, request: Facts) -> None:
        """Ends a session, and starts a worker for the next one if this one was well to the end."""
        session = self._sessions.pop(request["session"], None)
        if session is None:
            return
        if session.dead is None:
            self._selector.unregister(session.worker.stdout)
        session.worker.close()
        session.unpin()
        shutil.rmtree(session.folder, ignore_errors=True)
        self._wanted = session.dead is None

    def end(self) -> None:
        """Kills all workers, without waiting for them."""
        for session in self._sessions.values():
            session.worker.kill_only()
        if self._standby is not None:
            self._standby.kill_only()

    # --- requests

    def ask(self, request: Facts) -> None:
        """Asks a session's worker; the reply comes later. Until then the files are pinned, and the device is
        shared if `share` says by whom. Refusal names the files that are missing, or who measures.
        """
        session = self._sessions.get(request["session"])
        if session is None:
            raise Refusal("closed", "there is no such session")
        if session.dead is not None:
            raise Refusal("died", **session.dead._asdict())
        if request["share"]:
            session.pins.append(self._lock.share(request["share"]))
        paths = self._paths(session, request["files"])
        outputs = {key: str(session.folder / Path(name).name) for key, name in request["outputs"].items()}
        line = json.dumps(dict(request["request"], **paths, **outputs)).encode() + b"\n"
        session.job = Job(request, line, outputs)
        self._begin(session, session.job)

    def _paths(self, session: Session, files: Facts) -> dict[str, str]:
        """The paths of pinned files by key; an entry that is a mapping becomes a folder."""
        missing = []
        for entry in files.values():
            for name in entry.values() if isinstance(entry, dict) else [entry]:
                pin = self._store.pin(name)
                session.pins.extend([] if pin is None else [pin])
                missing.extend([name] if pin is None else [])
        if missing:
            session.unpin()
            raise Refusal("missing", names=missing)
        paths = {}
        for key, entry in files.items():
            linked = isinstance(entry, dict)
            paths[key] = self._linked(session, entry) if linked else str(self._store.path(entry))
        return paths

    def _linked(self, session: Session, names: Mapping[str, str]) -> str:
        """A folder with links to stored files; `names` are their names in the store by those in the
        folder.
        """
        folder = Path(tempfile.mkdtemp(dir=session.folder))
        for link, name in names.items():
            (folder / Path(link).name).symlink_to(self._store.path(name))
        return str(folder)

    def _begin(self, session: Session, job: Job) -> None:
        """Passes the job on, once no other worker is starting beside a measurement."""
        if job.request["alone"] and self._standby is not None and self._standby.ready_at is None:
            if time.monotonic() < job.waits_until:
                return
            self._take_standby([])
        job.started = time.monotonic()
        job.look_at = job.started + self._settings["look_s"]
        session.worker.ask(job.line)
        self._relay(session)

    def _hear(self, session: Session) -> None:
        """What a session's worker wrote, or that it ended; the news may be of before the session did."""
        if session.dead is not None or session not in self._sessions.values():
            return
        if session.worker.hear():
            self._relay(session)
        else:
            self._gone(session, "died", session.worker.death())

    def _relay(self, session: Session) -> None:
        """Sends the worker's answer on, with the files that it wrote."""
        job, worker = session.job, session.worker
        if job is None or b"\n" not in worker.buffer:
            if len(worker.buffer) > (LONGEST_UNASKED if job is None else job.request["longest"]):
                self._gone(session, "long", Death.by_us())
            return
        if job.started is None:
            return
        line, _, worker.buffer = worker.buffer.partition(b"\n")
        took = time.monotonic() - max(job.started, worker.ready_at or 0.0)
        session.job = None
        session.unpin()
        files = [self._described(key, path) for key, path in job.outputs.items() if Path(path).is_file()]
        size = len(line) + sum(file["size"] for file in files)
        reply = {
            "id": job.request["id"],
            "ok": True,
            "line": len(line),
            "worker_s": took,
            "files": files,
            "payload": size,
        }
        self._say(reply, _payload(bytes(line), [job.outputs[file["key"]] for file in files]))

    def _gone(self, session: Session, kind: str, death: Death) -> None:
        """A session's worker is no more: told at once if it was asked something, otherwise when it is."""
        self._selector.unregister(session.worker.stdout)
        session.worker.kill()
        session.dead = death
        session.unpin()
        job, session.job = session.job, None
        if job is not None:
            facts = dict(death._asdict(), id=job.request["id"], ok=False, kind=kind, message="")
            self._say(facts, ())

    def _described(self, key: str, path: str) -> dict[str, Any]:
        """Key, size in bytes and SHA-256 of a file that a worker wrote."""
        digest, size = hashlib.sha256(), 0
        for part in _parts(path):
            digest.update(part)
            size += len(part)
            self._store.working()
        return {"key": key, "size": size, "digest": digest.hexdigest()}

    # --- the standby

    def _start(self, command: list[str]) -> Worker:
        try:
            return Worker(command, self._store.own)
        except OSError as error:
            raise Refusal("start", f"{command[0]} cannot be started: {error.strerror}") from error

    def _stand_by(self) -> None:
        """Starts a worker for the next session, unless something is being asked of another one."""
        self._wanted = False
        busy = any(session.job is not None for session in self._sessions.values())
        if self._settings["standby"] and self._standby is None and not busy:
            try:
                self._standby = self._start(self._command)
            except Refusal:  # the next session tells
                return
            self._standby_command = self._command
            self._selector.register(self._standby.stdout, selectors.EVENT_READ, self._hear_standby)

    def _hear_standby(self) -> None:
        """The announcement of the standby; one that says more, or ends, is not used."""
        worker = self._standby
        if worker is not None and (not worker.hear() or (worker.ready_at is not None and worker.buffer)):
            self._take_standby([])

    def _take_standby(self, command: list[str]) -> Worker | None:
        """The standby if it runs that command; one of another kind is ended."""
        worker, self._standby = self._standby, None
        if worker is None:
            return None
        self._selector.unregister(worker.stdout)
        if command == self._standby_command and worker.running:
            return worker
        worker.close()
        return None

    # --- time

    def patience(self) -> float | None:
        """Seconds until the clock matters; None: never."""
        ends = [session.job.next for session in self._sessions.values() if session.job is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def look_at_clock(self) -> None:
        """Begins what has waited, and ends what took too long. Call it after every round of replies."""
        if self._wanted:
            self._stand_by()
        for session in list(self._sessions.values()):
            job = session.job
            if job is None:
                continue
            if job.started is None:
                self._begin(session, job)
            elif time.monotonic() > job.ends:
                self._gone(session, "timeout", Death.by_us())
            elif time.monotonic() > job.look_at:
                job.look_at = time.monotonic() + self._settings["look_s"]
                if still := session.worker.stillness.look():
                    self._gone(session, "still", Death.by_us()._replace(tail=still))


def _payload(line: bytes, paths: list[str]) -> Iterator[bytes]:
    """The worker's line, then the files, which are gone afterwards."""
    yield line
    for path in paths:
        yield from _parts(path)
        Path(path).unlink()


def _parts(path: str) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")
