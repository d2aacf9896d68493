"""Building beside the search: a compressor in a process of its own, pinned to cores that no measurement uses.

The child (`python -m autocompress.explore.beside.process CONFIG`) loads the task once and then builds one
recipe after the other, or tells its KL on rung r0. It answers in JSON lines (`messages.py`), and ends when
its input closes, so that a killed search leaves nothing behind. A child that somebody kills or stops is
replaced, and builds the same recipe from the beginning.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from types import TracebackType

from ...compress.compressor import BuildResult, Compressor
from ...compress.recipe import Recipe
from ...errors import FailureStage, StageError
from ...scratch import temporary_folder
from ...targets.lease import WAITS
from ...targets.on_device.agent.process import LOOK_S, Stillness, oom_kills
from ...targets.replies import is_from_outside
from ...targets.transport import VANISHED_LIMIT
from ..session.waits import search_in
from .builders import Ready
from .building import compressor_of
from .messages import (
    BuilderConfig,
    Reply,
    Wanted,
    failure_line,
    kl_line,
    progress_line,
    read_reply,
    read_request,
    request_line,
    result_line,
)

_END_S = 2.0  # for a child that has closed its output


class BuilderProcess:
    """Builds one recipe at a time in the background. A context manager; the child starts with the first
    recipe.
    """

    slots = 1

    def __init__(self, config: BuilderConfig, *, only_recoveries: bool):
        self.config, self.only_recoveries = config, only_recoveries
        self.stage = ""
        self._process: subprocess.Popen[str] | None = None
        self._open = contextlib.ExitStack()
        self._folder = self._open.enter_context(temporary_folder())  # for what the user's task leaves, too
        self._errors = self._open.enter_context((self._folder / "errors").open("w+b"))
        self._replies: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.recipe: Recipe | None = None
        self._lost = 0  # children in a row that somebody killed while they built this recipe
        self._oom_kills = 0
        self._look_at = 0.0

    def __enter__(self) -> "BuilderProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def cores(self) -> Sequence[int]:
        """Those of the configuration."""
        return self.config.cores

    @property
    def free(self) -> int:
        """1, or 0 while a recipe is being built or waits to be collected."""
        return int(self.recipe is None)

    def start(self, recipe: Recipe) -> None:
        """Begins to build a recipe; `poll` tells when it is done."""
        assert self.recipe is None
        self._lost = 0
        self._ask(recipe)

    def _ask(self, recipe: Recipe, wanted: Wanted = "build") -> None:
        process = self._running()
        assert process.stdin is not None
        self.recipe, self.stage = recipe, "starting"
        try:
            process.stdin.write(request_line(recipe, wanted) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # the reader has seen the end, and `poll` says so

    def kls(
        self, recipes: Sequence[Recipe], *, meanwhile: Callable[[], None]
    ) -> list[float | StageError | None]:
        """See Builders: that of the first one."""
        told: list[float | StageError | None] = [None for _ in recipes]
        if self.only_recoveries or not recipes or not self.free:
            meanwhile()
            return told
        try:
            self._ask(recipes[0], "kl")
            meanwhile()
            told[0] = self._kl()
        except BaseException:
            self._end()
            raise
        finally:
            self.recipe = None
        return told

    def _kl(self) -> float | StageError | None:
        """What the child answers; None when it is lost, or somebody stopped it."""
        while True:
            try:
                line = self._replies.get(timeout=LOOK_S)
            except queue.Empty:
                if self._stopped():
                    self._end()
                    return None
                continue
            reply = self._reply(line)
            if isinstance(reply, float):
                return reply
            if isinstance(reply, StageError):
                return None if reply.kind in ("crash", "memory") else reply

    def poll(self, *, wait_s: float = 0.0) -> Ready | None:
        """What became of the recipe, None while the child still works on it. Waits at most `wait_s`, however
        much progress comes meanwhile.
        """
        end = time.monotonic() + wait_s
        while self.recipe is not None:
            left_s = end - time.monotonic()
            try:
                line = self._replies.get(timeout=left_s) if left_s > 0 else self._replies.get_nowait()
            except queue.Empty:
                if not self._stopped():
                    return None
                reply: Reply = self._crashed(self._end())
            else:
                reply = self._reply(line)
            if isinstance(reply, str):
                self.stage = reply
            elif not isinstance(reply, float) and not self._tries_again(reply):
                done, self.recipe = self.recipe, None
                return Ready(done, reply)
        return None

    def _reply(self, line: str | None) -> Reply:
        if line is not None:
            with contextlib.suppress(OSError, ValueError, zipfile.BadZipFile):
                return read_reply(line)
        # it died, perhaps while it wrote the line, or the file of a check is gone
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process is not None:
                self._process.wait(timeout=_END_S)
        return self._crashed(self._end())

    def _stopped(self) -> bool:
        """Whether somebody stopped the child and forgot it; looked at now and then."""
        if self._process is None or time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + LOOK_S
        return bool(self._stillness.look())

    def _tries_again(self, reply: BuildResult | StageError) -> bool:
        """Begins again with the recipe when its failure was none of its own."""
        if isinstance(reply, BuildResult) or not reply.retryable or self._lost >= VANISHED_LIMIT - 1:
            return False
        assert self.recipe is not None
        self._lost += 1
        self._ask(self.recipe)
        return True

    def cancel(self) -> None:
        """Gives the recipe up; the next one gets a fresh child."""
        self._end()
        self.recipe = None

    def close(self) -> None:
        """Ends the child."""
        self._end()
        self._open.close()

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._end()
            command = [sys.executable, "-P", "-m", __spec__.name, self.config.to_json()]
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": str(len(self.config.cores)),
                "OMP_WAIT_POLICY": "PASSIVE",
                "TMPDIR": str(self._folder),
            }
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                start_new_session=True,
                env=environment,
            )
            self._replies, self._oom_kills = queue.SimpleQueue(), oom_kills()
            self._stillness = Stillness(self._process.pid, may_wait=True)
            self._look_at = time.monotonic() + LOOK_S
            threading.Thread(target=_read, args=(self._process, self._replies), daemon=True).start()
        return self._process

    def _crashed(self, code: int) -> StageError:
        """The error of a child that ended with this exit code; retryable if that was none of its doing."""
        oom = code == -signal.SIGKILL and oom_kills() > self._oom_kills
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 400))
        tail = " ".join(self._errors.read().decode(errors="replace").split())
        again = oom or is_from_outside(code)
        times = f" {VANISHED_LIMIT} times in a row" if again and self._lost == VANISHED_LIMIT - 1 else ""
        message = f"The process that builds beside the search ended{times}. {tail}"
        trains = self.recipe is not None and self.recipe.recovery is not None
        stage: FailureStage = "recover" if trains else "build"
        return StageError(message, stage=stage, kind="memory" if oom else "crash", retryable=again)

    def _end(self) -> int:
        """Ends the child, if there is one; its exit code."""
        code = 0
        if self._process is not None:
            try:  # its whole session: a task may load its data in processes
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self._process.kill()
            code = self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            self._process = None
        return code


def _read(process: "subprocess.Popen[str]", replies: "queue.SimpleQueue[str | None]") -> None:
    """Queues the child's lines, None at the end."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            replies.put(line)
    except ValueError:  # closed while it was read
        pass
    replies.put(None)


# --- the child


def main() -> None:
    """Does what is asked on standard input, a JSON line each, until it closes."""
    import torch

    config = BuilderConfig.from_json(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a user's task prints must not end up between replies
    os.sched_setaffinity(0, config.cores)
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    torch.set_num_threads(len(config.cores))
    compressor = compressor_of(config)

    def say(line: str) -> None:
        replies.write(line + "\n")
        replies.flush()

    with WAITS.told(search_in(config.out_dir.parent), lambda holder: None):
        while True:
            recipe, wanted = read_request(requests.get())
            try:
                if wanted == "kl":
                    say(kl_line(compressor.probe.kl(recipe)))
                else:
                    say(_built(compressor, recipe, config, say))
            except StageError as error:
                say(failure_line(error))


def _read_requests(requests: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def _built(compressor: Compressor, recipe: Recipe, config: BuilderConfig, say: Callable[[str], None]) -> str:
    """The line that says what was built; progress is said meanwhile."""
    from ...evaluation.paced_training import PacedTraining

    with PacedTraining(lambda stage: say(progress_line(stage)), cores=config.cores) as paced:
        built = compressor.build(recipe, config.out_dir, progress=paced)
    return result_line(built, config.checks_dir)


if __name__ == "__main__":
    main()
