"""What a runtime must offer to be run and timed. Implementations: runtime_<name>.py, each the only one that
imports its library.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any, Callable, Dict, NamedTuple, Protocol, Sequence, runtime_checkable

Request = Dict[str, Any]
Feeds = Dict[str, Any]

JETPACK = "sudo apt install python3-libnvinfer python3-numpy"  # TensorRT on a Jetson
PIP = {
    "onnxruntime": "pip install onnxruntime numpy",
    "openvino": "pip install openvino numpy",
    "tensorrt": "pip install --extra-index-url https://pypi.nvidia.com tensorrt numpy",
    "tensorrt-rtx": "pip install tensorrt-rtx numpy",
}
INSTALL = {**PIP, "tensorrt": f"{JETPACK} (JetPack), or {PIP['tensorrt']}"}


class RefusedError(Exception):
    """A request that cannot be answered; `kind` goes into the reply."""

    def __init__(self, message: str, *, kind: str):
        super().__init__(message)
        self.kind = kind


def refused_option(library: str, name: str, value: str, reason: str) -> RefusedError:
    """The error of a profile's runtime option that the library does not take; `reason` in the library's
    words.
    """
    told = " ".join(reason.split()).rstrip(".")
    message = f"{library} refuses the target's runtime option {name} = {value!r} ({told}): mend it, or remove it from runtime_options."
    return RefusedError(message, kind="input")


class Input(NamedTuple):
    """An input of a model. A dynamic dimension is its name or None; `dtype` is numpy's name."""

    name: str
    shape: Sequence[Any]
    dtype: str


class Bound(Protocol):
    """A session with inputs bound, ready to be timed."""

    def once(self) -> float:
        """Wall-clock seconds of one inference."""
        ...

    def block(self, count: int) -> tuple[float, float, list[float]]:
        """Seconds per inference of `count` inferences in the request's timer and in wall-clock time;
        wall-clock seconds of each.
        """
        ...


class Session(Protocol):
    """A model that is loaded. It ends with its last reference."""

    @property
    def inputs(self) -> Sequence[Input]: ...

    def run(self, feeds: Feeds) -> list[Any]:
        """The outputs, in the model's order."""
        ...

    def bind(self, feeds: Feeds) -> Bound:
        """The session with these inputs bound; what can be allocated once is."""
        ...


class Runtime(Protocol):
    """A module runtime_<name>.py. `ERRORS` are the library's own exceptions: they become replies, everything
    else is a bug.
    """

    ERRORS: tuple[type[BaseException], ...]

    def version(self) -> str: ...

    def facts(self, request: Request) -> dict[str, Any]:
        """What it adds to the environment: fields of profiles.environment.Environment.

        RefusedError for a runtime option that the library does not take, where it can tell before it has a
        model.
        """
        ...

    def open_session(self, model: str, request: Request) -> Session:
        """A session with what the request says: threads, options of the profile. `exact`: integer sums that
        cannot saturate.
        """
        ...

    def optimized(self, request: Request) -> dict[str, Any]:
        """What the runtime made of the model (`request["model"]`): for the precision by layer; see
        targets/precision.py.
        """
        ...

    def profile(self, request: Request, arrays: Any) -> dict[str, Any]:
        """Seconds per inference of each kernel, by the runtime's name for it: {"runs", "kernels"}."""
        ...


@runtime_checkable
class DeviceRuntime(Runtime, Protocol):
    """A runtime that builds engines on a device with a memory of its own."""

    def prepare(self, request: Request) -> None:
        """Builds what `measure` opens, so that building takes none of its time; see `engine_builds` of
        TimingConfig.
        """
        ...

    def peak_memory(self, request: Request, feeds: Feeds) -> int:
        """Bytes of the device's memory that loading and running the candidate takes."""
        ...

    def details(self, request: Request, feeds: Feeds) -> dict[str, Any]:
        """What a measurement keeps beside its times: a JSON value."""
        ...


def load_runtime(name: str) -> Runtime:
    """The runtime's module. RefusedError of the kind unavailable says what is missing."""
    try:
        module: Any = importlib.import_module(f".runtime_{name.replace('-', '_')}", __package__)
    except ImportError as missing:
        raise RefusedError(
            f"The worker's Python {sys.executable} lacks a module ({missing}). Install it there: {INSTALL[name]}.",
            kind="unavailable",
        ) from missing
    runtime: Runtime = module
    return runtime


PROFILE_WARM_UP, PROFILE_LEAST, PROFILE_MOST = (
    5,
    10,
    500,
)  # inferences under a profiler: ONNX Runtime's keeps a million events


def repeated(infer: Callable[[], Any], profile_s: float) -> int:
    """How often it inferred under a profiler: for `profile_s`, within PROFILE_LEAST and PROFILE_MOST."""
    runs, started = 0, time.perf_counter()
    while runs < PROFILE_LEAST or (runs < PROFILE_MOST and time.perf_counter() - started < profile_s):
        infer()
        runs += 1
    return runs


class HostTimed:
    """A Bound that is timed by the clocks of the host: `call` is one inference, done when it returns."""

    def __init__(self, call: Callable[[], Any], request: Request):
        self._call = call
        self._clock = time.thread_time if request["timer"] == "thread-cpu" else time.perf_counter

    def once(self) -> float:
        """See Bound."""
        start = time.perf_counter()
        self._call()
        return time.perf_counter() - start

    def block(self, count: int) -> tuple[float, float, list[float]]:
        """See Bound."""
        call, now, stamps = self._call, time.perf_counter, [0.0] * count
        start, own = now(), self._clock()
        for index in range(count):
            call()
            stamps[index] = now()
        own = self._clock() - own
        single = [after - before for before, after in zip([start, *stamps], stamps)]
        return own / count, (stamps[-1] - start) / count, single
