"""What a runtime must offer to be run and timed. Implementations: runtimes/<folder>/runtime.py, each the only
one that imports its library; runtimes/listed.py loads them.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, NamedTuple, Protocol, Sequence, runtime_checkable

Request = Dict[str, Any]
Feeds = Dict[str, Any]


class RefusedError(Exception):
    """A request that cannot be answered; `kind` goes into the reply."""

    def __init__(self, message: str, *, kind: str):
        super().__init__(message)
        self.kind = kind


def refused_option(library: str, name: str, value: str, reason: str) -> RefusedError:
    """The error of a profile's runtime option that the library does not take; `reason` in the library's
    words.
    """
    message = (
        f"{library} refuses the target's runtime option {name} = {value!r} "
        f"({' '.join(reason.split()).rstrip('.')}): "
        "mend it, or remove it from runtime_options."
    )
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
    """A module runtimes/<folder>/runtime.py. `ERRORS` are the library's own exceptions: they become replies,
    everything else is a bug.
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
        """What the runtime made of the model (`request["model"]`): the precision by node or layer,
        {"layers"}; or nothing, and the graph that it optimized is written to `request["output"]` (graph.py
        reads it).
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


# Inferences under a profiler: ONNX Runtime's keeps a million events.
PROFILE_WARM_UP, PROFILE_LEAST, PROFILE_MOST = 5, 10, 500


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
        start, clock_start = now(), self._clock()
        for index in range(count):
            call()
            stamps[index] = now()
        elapsed = self._clock() - clock_start
        single = [after - before for before, after in zip([start, *stamps], stamps)]
        return elapsed / count, (stamps[-1] - start) / count, single
