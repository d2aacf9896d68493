"""Transport: how requests reach a worker. Here, a child process on this machine; ssh/transport.py has the one
on a board.

Whatever can go wrong with a process is mapped to the project's errors in replies.py and nowhere else.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from ..errors import StageError, TargetUnavailable
from ..scratch import temporary_folder
from . import replies
from .on_device.agent.process import LOOK_S, Stillness, oom_kills

WORKER = Path(__file__).with_name("on_device")
# The keys of a request that hold paths of this machine: what the worker reads, and what it writes.
FILES_IN = ("model", "baseline", "inputs")
FILES_OUT = ("outputs", "output")
VANISHED_LIMIT = 3  # workers in a row that somebody kills while they are asked the same


class Transport(Protocol):
    """Sends requests to one worker, one at a time; a context manager that ends the worker.

    `send` returns the reply's result. It raises StageError with the kind crash, timeout, memory,
    wrong-output, noisy or error (stage "measure" for that operation, otherwise "run"), InputError for a model
    that the user must describe better, and TargetUnavailable if the runtime is missing. After crash, timeout
    or wrong-output the worker is gone for good.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Ends the worker."""
        ...

    def send(self, request: Mapping[str, object], *, timeout_s: float) -> dict[str, Any]:
        """The result of the request, a JSON object; `timeout_s` bounds the wait. `FILES_IN` and `FILES_OUT`
        are paths here.
        """
        ...


class LocalTransport:
    """A worker process in a session of its own (Ctrl-C does not reach it), killed with its children when
    closed.

    `config` is given to the worker at its start: runtime, cores, threads, timer, runtime_options,
    memory_limit_bytes.
    """

    def __init__(self, config: Mapping[str, object], *, python: str = sys.executable, worker: Path = WORKER):
        self._open = contextlib.ExitStack()
        folder = self._open.enter_context(temporary_folder())  # for what the runtime leaves, too
        self._errors = self._open.enter_context((folder / "errors").open("w+b"))
        command = [python, "-P", str(worker), json.dumps(dict(config))]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(folder)},
            )
        except OSError as error:
            self._open.close()
            raise TargetUnavailable(f"The worker's Python {python} cannot be started: {error}.") from error
        self._buffer = bytearray()
        self._requests = 0
        self._oom_kills = oom_kills()
        assert self._process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker and whatever it started."""
        self._kill()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._open.close()

    def send(self, request: Mapping[str, object], *, timeout_s: float) -> dict[str, Any]:
        """See Transport."""
        operation = str(request["op"])
        self._requests += 1
        line = json.dumps({**request, "id": self._requests}) + "\n"
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail(self._death(operation))
        try:
            return replies.result_of(self._line(operation, timeout_s), operation, number=self._requests)
        except replies.RubbishError as error:
            self._fail(error)

    def _line(self, operation: str, timeout_s: float) -> bytes:
        """The next line that the worker writes."""
        left_s, stillness = timeout_s, Stillness(self._process.pid)
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            wait_s, began_s = min(LOOK_S, max(0.0, left_s)), time.monotonic()
            heard = self._selector.select(wait_s)
            left_s -= min(wait_s, time.monotonic() - began_s)  # it is not to blame for a frozen machine
            if not heard:
                if left_s <= 0:
                    self._fail(replies.timed_out(operation, timeout_s))
                if still := stillness.look():
                    self._fail(replies.vanished(operation, still))
                continue
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                self._fail(self._death(operation))
            self._buffer += chunk
            if len(self._buffer) > replies.LONGEST_REPLY:
                self._fail(replies.too_long(operation, replies.LONGEST_REPLY))
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line

    def _death(self, operation: str) -> StageError:
        """The error of a worker that is gone, by what it left."""
        code = self._process.wait()
        oom = code == -signal.SIGKILL and oom_kills() > self._oom_kills
        return replies.death(operation, code=code, tail=self._error_tail(), oom=oom)

    def _fail(self, error: StageError) -> NoReturn:
        self._kill()
        raise error

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


class LastingWorker:
    """A worker that is started again by `start`, and asked the same again, when somebody killed or stopped
    it.

    A request that loses VANISHED_LIMIT workers in a row is taken for the cause: StageError of the kind crash.
    """

    def __init__(self, start: Callable[[], Transport]):
        self._start = start
        self._worker = start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker."""
        self._worker.close()

    def send(self, request: Mapping[str, object], *, timeout_s: float) -> dict[str, Any]:
        """See Transport."""
        for _ in range(VANISHED_LIMIT - 1):
            with contextlib.suppress(replies.VanishedError):
                return self._worker.send(request, timeout_s=timeout_s)
            self._worker.close()
            self._worker = self._start()
        try:
            return self._worker.send(request, timeout_s=timeout_s)
        except replies.VanishedError as error:
            message = f"{error}, {VANISHED_LIMIT} times in a row"
            raise StageError(message, stage=error.stage, kind="crash") from error
