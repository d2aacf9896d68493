"""The agent: the one long-lived process on a device that is reached over SSH. It keeps files, a lock and
workers.

Its source arrives over standard input (targets/ssh/board.py), then JSON lines do, each perhaps followed by
`size` raw bytes; a reply is a JSON line, perhaps followed by `payload` raw bytes. It knows nothing of models:
what is asked of a worker is relayed, with paths of this device in the place of names of files.

It ends, and its workers with it, when standard input closes, on a signal, and when nothing moved for
`silence_s`: by the kernel's alarm, which also rings in the middle of a write to a dead connection. Workers
ask the kernel to be killed with it.

Operations: ping, put (a file into the store), open, request and close (a worker), lock, unlock and leave (the
device: see lock.py), look (what `targets doctor` asks). Standard library only, Python 3.8; one thread.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, NoReturn

from .lock import DeviceLock, Refusal
from .sessions import Facts, Sessions
from .store import Store, StoreError, Upload

HELLO = "autocompress-agent "
CHUNK = 1 << 18
SIGNS = 12  # of life in `silence_s` while pings wait: during an upload, and while a file is verified


class Agent:
    """The conversation with the coordinator. `settings`: python, folder, limit_bytes, reserve_bytes,
    silence_s, standby, look_s.
    """

    def __init__(self, settings: Facts):
        self._settings = settings
        self._sessions: Sessions | None = None
        self._store: Store | None = None
        self._buffer = bytearray()
        self._upload: tuple[Facts, Upload] | None = None
        self._lock = DeviceLock()
        self._said_at = time.monotonic()
        self._selector = selectors.DefaultSelector()
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._end)
        self._alive()

    def run(self) -> None:
        """Answers until standard input closes."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = Path(self._settings["folder"] or cache / "autocompress" / "device")
        try:
            limits = self._settings["limit_bytes"], self._settings["reserve_bytes"]
            store = self._store = Store(folder, *limits, working=self._working)
        except StoreError as error:
            self._say({"error": error.kind, "message": str(error)}, prefix=HELLO)
            return
        sessions = self._sessions = Sessions(store, self._lock, self._selector, self._settings, self._say)
        self._operations: dict[str, Callable[[Facts], Facts | None]] = {
            "ping": lambda request: None,
            "open": sessions.open,
            "request": sessions.ask,
            "close": sessions.close,
            "lock": self._take_lock,
            "unlock": self._free_lock,
            "leave": self._leave_gate,
            "look": self._look,
        }
        self._say(_machine(store), prefix=HELLO)
        self._selector.register(0, selectors.EVENT_READ, lambda: self._hear(store))
        while True:
            for key, _ in self._selector.select(sessions.patience()):
                key.data()
            sessions.look_at_clock()

    # --- the conversation

    def _alive(self) -> None:
        """Puts off the alarm: something moved."""
        signal.setitimer(signal.ITIMER_REAL, self._settings["silence_s"])

    def _working(self) -> None:
        """Says now and then that something takes long: a large file on a slow card."""
        self._alive()
        if time.monotonic() - self._said_at > self._settings["silence_s"] / SIGNS:
            self._say({"id": 0})

    def _end(self, *_: object) -> NoReturn:
        """Ends this process and everything that it started."""
        if self._sessions is not None:
            self._sessions.end()
        if self._store is not None:
            self._store.close()
        os._exit(0)

    def _hear(self, store: Store) -> None:
        try:
            chunk = os.read(0, CHUNK)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self._end()
        self._alive()
        self._buffer += chunk
        while self._next(store):
            pass
        if self._upload is not None:
            self._working()

    def _next(self, store: Store) -> bool:
        """Takes the next message, or part of an upload, out of what arrived; whether there was one."""
        if self._upload is not None:
            request, upload = self._upload
            part = bytes(self._buffer[: upload.left])
            del self._buffer[: len(part)]
            upload.write(part)
            if upload.left:
                return False
            self._upload = None
            self._answer(request, lambda _: upload.finish())
            return True
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return False
        self._buffer = rest
        request = json.loads(line.decode())
        if request["op"] == "put":
            self._upload = request, Upload(store, request["name"], request["size"], beside=request["beside"])
        else:
            self._answer(request, self._operations[request["op"]])
        return True

    def _answer(self, request: Facts, work: Callable[[Facts], Facts | None]) -> None:
        """Does the work and replies with what it returns; what a worker answers comes later."""
        try:
            facts = work(request) or {}
        except StoreError as error:
            facts = {"ok": False, "kind": error.kind, "message": str(error)}
        except OSError as error:  # of the disk
            failed = StoreError.of(error, error.filename or self._settings["folder"] or "the disk")
            facts = {"ok": False, "kind": failed.kind, "message": str(failed)}
        except Refusal as refusal:
            facts = refusal.reply
        else:
            if request["op"] == "request":
                return
        self._say({"ok": True, **facts, "id": request["id"]})

    def _say(self, reply: Facts, payload: Iterable[bytes] = (), *, prefix: str = "") -> None:
        """Writes a line, and then the parts of its payload."""
        self._write((prefix + json.dumps(dict(reply)) + "\n").encode())
        for part in payload:
            self._write(part)
        self._said_at = time.monotonic()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(1, view[:CHUNK]) :]
            except ConnectionError:
                self._end()
            self._alive()

    # --- the device

    def _take_lock(self, request: Facts) -> None:
        """Takes the lock of the device. Refusal says who holds it."""
        self._lock.take(request["who"])

    def _free_lock(self, request: Facts) -> None:
        self._lock.free()

    def _leave_gate(self, request: Facts) -> None:
        self._lock.leave()

    def _look(self, request: Facts) -> Facts:
        """Which modules are missing, whether sudo runs all the tools without a password, what the disk
        holds.
        """
        missing = [name for name in request["modules"] if importlib.util.find_spec(name) is None]
        assert self._store is not None
        return {
            "missing": missing,
            "sudo": all(map(_may_run, request["tools"])),
            "free_bytes": self._store.free_bytes(),
        }


def _machine(store: Store) -> Mapping[str, Any]:
    """What the hello tells."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "hostname": socket.gethostname(),
        "cores": sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1)),
        "folder": str(store.folder),
        "free_bytes": store.free_bytes(),
        "pid": os.getpid(),
    }


def _may_run(tool: str) -> bool:
    """Whether sudo runs the tool without a password."""
    try:
        command = ["sudo", "-n", "-l", tool]
        return (
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, timeout=10, check=False).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def main(settings: Facts) -> None:
    """Runs the agent in this process."""
    Agent(settings).run()
