"""One worker process of the agent's: how it is started, what it says, and how it ended. Standard library
only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, Sequence

from .process import Stillness, oom_kills

try:
    import ctypes

    _PRCTL: Any = ctypes.CDLL(None).prctl
except (ImportError, OSError, AttributeError):  # not Linux: a worker still ends when its input closes
    _PRCTL = None

READY = b'{"ready": true}'  # the first line of a worker that was asked to announce itself
CHUNK = 1 << 18
_PR_SET_PDEATHSIG = 1
_TAIL = 500  # bytes of standard error that are told


class Death(NamedTuple):
    """How a worker ended: exit code, the end of what it wrote on standard error, whether the kernel killed it
    for want of memory.
    """

    code: int
    tail: str = ""
    oom: bool = False

    @classmethod
    def by_us(cls) -> Death:
        """That of a worker that had to be killed."""
        return cls(-signal.SIGKILL)


class Worker:
    """A worker process in a session of its own, which the kernel kills with the agent. OSError if it cannot
    be started.

    `buffer` is what it said and nobody took, `ready_at` the monotonic time at which it announced itself.
    """

    def __init__(self, command: Sequence[str], folder: Path):
        self.buffer = bytearray()
        self.ready_at: float | None = None
        self._errors = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed in close()
        self._kills = oom_kills()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            env=dict(os.environ, ORT_DISABLE_TELEMETRY="1", TMPDIR=str(folder)),
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - the agent has no threads
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self.stdout = self._process.stdin, self._process.stdout
        self.stillness = Stillness(self._process.pid)

    def hear(self) -> bool:
        """Takes in what it wrote; False at the end of its output. The announcement is noted and not kept."""
        chunk = os.read(self.stdout.fileno(), CHUNK)
        self.buffer += chunk
        if self.ready_at is None:
            line, newline, rest = self.buffer.partition(b"\n")
            if newline and bytes(line) == READY:
                self.ready_at, self.buffer = time.monotonic(), rest
        return bool(chunk)

    def ask(self, line: bytes) -> None:
        """Writes a request; one that ended meanwhile shows that at the end of its output."""
        self.stillness = Stillness(self._process.pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._stdin.fileno(), line)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends the process and its children; it is reaped when this returns."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def kill_only(self) -> None:
        """Ends it without waiting."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends it and lets go of its files."""
        self.kill()
        for stream in (self.stdout, self._errors, self._stdin):
            with contextlib.suppress(OSError):  # of a request that it never read
                stream.close()

    def death(self) -> Death:
        """How it ended."""
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # it only closed its output
            self.kill()
            code = self._process.returncode
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _TAIL))
        tail = " ".join(self._errors.read().decode(errors="replace").split())
        return Death(code, tail, oom=code == -signal.SIGKILL and oom_kills() > self._kills)


def _die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent ends: a stopped one does not notice that its input
    closed.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
