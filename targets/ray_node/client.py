"""The client of a Ray node, in the place of ssh: runs a command on the node that has a resource.

    python -P client.py ADDRESS RESOURCE COMMAND [ARGUMENT …]

Its standard input and output are those of the command, its exit code is the command's. Where there is no
connection it exits with 255, and the last line on standard error that begins with `autocompress-node:` says
why. It imports nothing of the package, and Pipe is sent to the node by value: nothing of ours is there.
"""

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

SAID = "autocompress-node: "
FAILED = 255
_BUSY_S = 40.0  # for the node's resource to be free; a dead node is noticed after about 13
_LOOK_S = 5.0  # between two signs of life of the actor
_CHUNK = 1 << 20
_LEFT_OUT = ("RAY_", "OMP_", "MKL_", "CUDA_VISIBLE_DEVICES", "PYTHONPATH")  # what Ray set for its own work


class Pipe:
    """The command on the node, an actor. One caller writes, another one reads."""

    def __init__(self, command: Sequence[str]):
        environment = {name: text for name, text in os.environ.items() if not name.startswith(_LEFT_OUT)}
        # a profile's `python3` is that of the environment in which Ray was started
        path = [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
        with contextlib.suppress(OSError):  # Ray's workers are nicer than Ray; only root may undo that
            os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, os.getppid()))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - `end` closes it
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=Path.home(),
            env={**environment, "PATH": os.pathsep.join(path)},
            start_new_session=True,
        )

    def write(self, data: bytes) -> None:
        """Gives the command input; nothing where it has ended, which `read` tells."""
        assert self._process.stdin is not None
        view = memoryview(data)
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[os.write(self._process.stdin.fileno(), view) :]

    def close_input(self) -> None:
        """The end of the command's input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def read(self, wait_s: float) -> bytes | None:
        """What the command says next, empty where it says nothing for `wait_s`; None at its end."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], wait_s)
        if not ready:
            return b""
        return os.read(self._process.stdout.fileno(), _CHUNK) or None

    def end(self) -> tuple[int, bytes]:
        """The exit code, and what the command wrote on standard error."""
        code = self._process.wait()
        self._errors.seek(0)
        errors = self._errors.read(1 << 16)
        for stream in (self._errors, self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        return code, errors


def main(address: str, resource: str, command: Sequence[str]) -> NoReturn:
    """Runs the command on a node, with this process's standard input and output."""
    output = os.dup(1)
    os.dup2(2, 1)  # whatever Ray prints is not said by the command
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    try:
        import ray
    except ImportError:
        _fail("the package ray is not installed here")
    try:
        _connect(ray, address)
        _require_node(ray, resource)
        actor = ray.remote(Pipe).options(num_cpus=0, resources={resource: 1}, max_concurrency=3)
        pipe: Any = actor.remote(list(command))
        started = pipe.read.remote(0.0)
        if not ray.wait([started], timeout=_BUSY_S)[0]:
            _require_node(ray, resource)
            _fail(f"{resource} is in use: another command measures on the node")
        _say(output, ray.get(started) or b"")
        threading.Thread(target=_send, args=(ray, pipe), daemon=True).start()
        said: bytes | None
        while (said := ray.get(pipe.read.remote(_LOOK_S))) is not None:
            _say(output, said)
        code, errors = ray.get(pipe.end.remote())
    except ray.exceptions.RayTaskError as error:
        _fail(f"the node cannot run it ({_first_line(error.cause)})")
    except ray.exceptions.RayError as error:
        _fail(f"the node was lost ({_first_line(error)})")
    os.write(2, errors)
    os._exit(code if code >= 0 else 128 - code)


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        _fail(f"there is no connection to the Ray cluster {address} ({_first_line(error)})")


def _require_node(ray: Any, resource: str) -> None:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if not any(node["Resources"].get(resource, 0) >= 1 for node in nodes):
        names = ", ".join(sorted({node["NodeManagerHostname"] for node in nodes}))
        _fail(f"no node of the Ray cluster has the resource {resource} (there are {names})")


def _send(ray: Any, pipe: Any) -> None:
    """Hands standard input over. When the node is lost, the reader says so."""
    with contextlib.suppress(ray.exceptions.RayError):
        while data := os.read(0, _CHUNK):
            ray.get(pipe.write.remote(data))
        ray.get(pipe.close_input.remote())


def _say(output: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(output, view) :]


def _fail(why: str) -> NoReturn:
    os.write(2, f"\n{SAID}{why}\n".encode(errors="replace"))
    os._exit(FAILED)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
