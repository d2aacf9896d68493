"""Transport: how requests reach a worker. Here, a child process on this machine.

Whatever can go wrong with a process is mapped to the project's errors here and nowhere else.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Protocol, Self

from ..errors import FailureKind, FailureStage, InputError, StageError, TargetUnavailable

WORKER = Path(__file__).with_name("on_device")
_LONGEST_REPLY = 64 * 1024**2
_MEMORY_WORDS = ("bad_alloc", "MemoryError", "Cannot allocate memory", "Failed to allocate")


class Transport(Protocol):
    """Sends requests to one worker, one at a time; a context manager that ends the worker.

    `send` returns the reply's result. It raises StageError with the kind crash, timeout, memory, wrong-output, noisy or error
    (stage "measure" for that operation, otherwise "run"), InputError for a model that the user must describe better,
    and TargetUnavailable if the runtime is missing. After crash, timeout or wrong-output the worker is gone for good.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def send(self, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """The result of the request, a JSON object; `timeout_s` bounds the wait."""
        ...


class LocalTransport:
    """A worker process in a session of its own (Ctrl-C does not reach it), killed with its children when closed.

    `config` is given to the worker at its start: runtime, cores, threads, timer, runtime_options, memory_limit_bytes.
    """

    def __init__(self, config: Mapping[str, Any], *, python: str = sys.executable, worker: Path = WORKER):
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        # -P: the worker's own folder must not provide modules.
        command = [python, "-P", str(worker), json.dumps(dict(config))]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
            )
        except OSError as error:
            self._errors.close()
            raise TargetUnavailable(f"The worker's Python {python} cannot be started: {error}.") from error
        self._buffer = bytearray()
        self._requests = 0
        self._oom_kills = _oom_kills()
        assert self._process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker and whatever it started."""
        self._kill()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def send(self, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """See Transport."""
        operation = str(request["op"])
        self._requests += 1
        line = json.dumps({**request, "id": self._requests}) + "\n"
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail_crashed(operation)
        return self._result(self._line(operation, timeout_s), operation)

    def _line(self, operation: str, timeout_s: float) -> bytes:
        """The next line that the worker writes."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                self._fail(operation, "timeout", f"did not answer within {timeout_s:g} s", retryable=True)
            assert self._process.stdout is not None
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                self._fail_crashed(operation)
            self._buffer += chunk
            if len(self._buffer) > _LONGEST_REPLY:
                self._fail(operation, "wrong-output", f"answered more than {_LONGEST_REPLY} bytes in one line")
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def _result(self, line: bytes, operation: str) -> dict[str, Any]:
        """The result in a reply line; a refusal becomes the error that it names."""
        try:
            reply = json.loads(line)
        except ValueError:  # neither JSON nor UTF-8
            reply = None
        if not isinstance(reply, dict) or reply.get("id") != self._requests:
            self._fail(operation, "wrong-output", f"answered rubbish: {line[:80]!r}")
        if reply.get("ok") is True and isinstance(reply.get("result"), dict):
            return dict(reply["result"])
        kind, message = reply.get("kind"), str(reply.get("message"))
        if kind == "unavailable":
            raise TargetUnavailable(message)
        if kind == "input":
            raise InputError(message)
        if kind not in ("error", "memory", "wrong-output", "noisy"):
            self._fail(operation, "wrong-output", f"answered rubbish: {line[:80]!r}")
        raise StageError(message, stage=_stage(operation), kind=kind, retryable=kind == "noisy")

    def _fail_crashed(self, operation: str) -> NoReturn:
        """Raises the error of a worker that is gone: memory if that was the reason, otherwise a crash."""
        code = self._process.wait()
        tail = self._error_tail()
        killed = code == -signal.SIGKILL and _oom_kills() > self._oom_kills
        if killed or any(word in tail for word in _MEMORY_WORDS):
            self._fail(operation, "memory", f"ran out of memory. {tail}")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._fail(operation, "crash", f"crashed ({how}). {tail}", retryable=True)

    def _fail(self, operation: str, kind: FailureKind, what: str, *, retryable: bool = False) -> NoReturn:
        self._kill()
        message = f"The worker {what.strip()} (operation {operation!r})"
        raise StageError(message, stage=_stage(operation), kind=kind, retryable=retryable)

    def _error_tail(self) -> str:
        """The last lines that the worker wrote on standard error."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 500))
        return " ".join(self._errors.read().decode(errors="replace").split())

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _stage(operation: str) -> FailureStage:
    return "measure" if operation == "measure" else "run"


def _oom_kills() -> int:
    """How many processes this machine has killed for want of memory since its start; 0 where it does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
