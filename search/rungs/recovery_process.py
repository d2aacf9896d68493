"""Recovery beside the search: a compressor in a process of its own, pinned to cores that no measurement uses.

The child (`python -m autocompress.search.recovery_process CONFIG`) loads the task once and then builds one
recipe after the other. It speaks JSON lines like a target's worker, and dies when its input closes, so that a
killed search leaves nothing behind.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from ...compress.artifact import Artifact
from ...compress.compressor import BuildResult, BuiltFile, Compressor
from ...compress.onnx_file.check import OutputCheck
from ...compress.options import CompressorOptions, FileFormat
from ...compress.recipe import Recipe
from ...errors import StageError

CHECK_PREFIX = "check-"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryConfig:
    """What the child needs: the task as on the command line, the files' formats, the compressor's folders,
    its cores.
    """

    task: str
    arguments: Mapping[str, str]
    formats: Sequence[FileFormat]
    seed: int
    cache_dir: Path
    levels_dir: Path
    out_dir: Path
    cores: Sequence[int]

    def to_json(self) -> str:
        """One line for the child's command line."""
        paths = {name: str(getattr(self, name)) for name in ("cache_dir", "levels_dir", "out_dir")}
        formats = [asdict(form) for form in self.formats]
        return json.dumps({**asdict(self), **paths, "formats": formats, "cores": list(self.cores)})


class RecoveryProcess:
    """Builds one recipe at a time in the background. A context manager; the child starts with the first
    recipe.
    """

    def __init__(self, config: RecoveryConfig):
        self.config = config
        self.stage = ""
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._replies: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.recipe: Recipe | None = None

    def __enter__(self) -> "RecoveryProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def busy(self) -> bool:
        """Whether a recipe is being built, or waits to be collected."""
        return self.recipe is not None

    def start(self, recipe: Recipe) -> None:
        """Begins to build a recipe; `poll` tells when it is done."""
        assert self.recipe is None
        process = self._running()
        assert process.stdin is not None
        self.recipe, self.stage = recipe, "starting"
        try:
            process.stdin.write(json.dumps(recipe.to_json()) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # the reader has seen the end, and `poll` says so

    def poll(self, *, wait_s: float = 0.0) -> BuildResult | StageError | None:
        """What became of the recipe, None while it is still at it; waits at most so long, whatever is told
        meanwhile.
        """
        end = time.monotonic() + wait_s
        while self.recipe is not None:
            left_s = end - time.monotonic()
            try:
                line = self._replies.get(timeout=left_s) if left_s > 0 else self._replies.get_nowait()
            except queue.Empty:
                return None
            if line is None:
                return self._crashed()
            try:
                reply = json.loads(line)
                if "progress" not in reply:
                    return self._answered(_result_of(reply))
            except (
                OSError,
                ValueError,
                zipfile.BadZipFile,
            ):  # it died while it wrote the line, or the file of the check is gone
                return self._crashed()
            self.stage = reply["progress"]
        return None

    def _answered(self, result: BuildResult | StageError) -> BuildResult | StageError:
        self.recipe = None
        return result

    def cancel(self) -> None:
        """Gives the recipe up; the next one gets a fresh child."""
        self._end()
        self.recipe = None

    def close(self) -> None:
        """Ends the child."""
        self._end()
        self._errors.close()

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._end()
            command = [sys.executable, "-P", "-m", __spec__.name, self.config.to_json()]
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": str(len(self.config.cores)),
                "OMP_WAIT_POLICY": "PASSIVE",
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
            self._replies = queue.SimpleQueue()
            threading.Thread(target=_read, args=(self._process, self._replies), daemon=True).start()
        return self._process

    def _crashed(self) -> StageError:
        self._end()
        self.recipe = None
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 400))
        tail = " ".join(self._errors.read().decode(errors="replace").split())
        return StageError(
            f"The recovery process ended. {tail}", stage="recover", kind="crash", retryable=True
        )

    def _end(self) -> None:
        if self._process is not None:
            try:
                os.killpg(
                    self._process.pid, signal.SIGKILL
                )  # its whole session: a task's data may load in processes
            except (ProcessLookupError, PermissionError):
                self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            self._process = None


def _read(process: "subprocess.Popen[str]", replies: "queue.SimpleQueue[str | None]") -> None:
    """Queues the child's lines, None at the end."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            replies.put(line)
    except ValueError:  # closed while it was read
        pass
    replies.put(None)


def _result_of(reply: Mapping[str, Any]) -> BuildResult | StageError:
    if "error" in reply:
        return StageError(
            reply["error"], stage=reply["stage"], kind=reply["kind"], retryable=reply["retryable"]
        )
    by_format = dict(_read_file(value) for value in reply["builds"])
    return BuildResult(by_format=by_format, seconds=reply["seconds"])


def _read_file(value: Mapping[str, Any]) -> tuple[FileFormat, BuiltFile]:
    """One artifact out of a reply; the file of its check is gone afterwards."""
    path = Path(value["check"])
    with np.load(path, allow_pickle=False) as arrays:
        inputs, expected = (
            tuple(arrays[key] for key in sorted(arrays.files) if key.startswith(side))
            for side in ("input", "expected")
        )
    path.unlink()
    check = OutputCheck(inputs=inputs, expected=expected, tolerance=value["tolerance"])
    artifact = Artifact(**{**value["artifact"], "path": Path(value["artifact"]["path"])})
    return FileFormat(**value["format"]), BuiltFile(artifact=artifact, check=check)


# --- the child


def main() -> None:
    """Builds the recipes on standard input, one JSON line each, until it closes."""
    config = json.loads(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a user's task prints must not end up between replies
    os.sched_setaffinity(0, config["cores"])
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    compressor = _compressor(config)

    def say(value: Mapping[str, Any]) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    while True:
        recipe = Recipe.from_json(json.loads(requests.get()))
        try:
            say(_built(compressor, recipe, config, say))
        except StageError as error:
            say({"error": str(error), "stage": error.stage, "kind": error.kind, "retryable": error.retryable})


def _read_requests(requests: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def _compressor(config: Mapping[str, Any]) -> Compressor:
    import torch

    from ...compress.graph.network import Network
    from ...tasks.load import load_task

    torch.set_num_threads(len(config["cores"]))
    task = load_task(config["task"], config["arguments"])
    network = Network.trace(task.model, task.example_inputs)  # its costs in bytes are not asked for here
    formats = tuple(FileFormat(**value) for value in config["formats"])
    options = CompressorOptions(formats=formats, seed=config["seed"])
    return Compressor(
        task, network, options, cache_dir=Path(config["cache_dir"]), levels_dir=Path(config["levels_dir"])
    )


def _built(compressor: Compressor, recipe: Recipe, config: Mapping[str, Any], say: Any) -> dict[str, Any]:
    from ..evaluation.paced_training import PacedTraining

    with PacedTraining(lambda text: say({"progress": text}), cores=config["cores"]) as paced:
        built = compressor.build(recipe, Path(config["out_dir"]), progress=paced)
    builds = [_written(form, file, config) for form, file in built.by_format.items()]
    return {"seconds": dict(built.seconds), "builds": builds}


def _written(form: FileFormat, built: BuiltFile, config: Mapping[str, Any]) -> dict[str, Any]:
    """An artifact for a reply, the arrays of its check in a file."""
    handle, name = tempfile.mkstemp(suffix=".npz", prefix=CHECK_PREFIX, dir=config["cache_dir"])
    sides = {"input": built.check.inputs, "expected": built.check.expected}
    named: dict[str, Any] = {
        f"{side}{index:03}": array for side, arrays in sides.items() for index, array in enumerate(arrays)
    }
    with os.fdopen(handle, "wb") as file:
        np.savez(file, allow_pickle=False, **named)
    artifact = {**asdict(built.artifact), "path": str(built.artifact.path)}
    return {"format": asdict(form), "artifact": artifact, "check": name, "tolerance": built.check.tolerance}


if __name__ == "__main__":
    main()
