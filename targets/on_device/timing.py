"""The timing loop: fresh pairs of sessions, baseline and candidate in turn (ABBA). docs/measuring.md explains
it.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from .energy import Meter, block_seconds
from .runtime import Bound, Feeds, Request, Runtime

INFERENCES_KEPT = 200  # single inference times that are kept of each pair, for percentiles
FROZEN_S = 1.0  # beyond ten times what it should take, and a block tells of a machine that stood still
TRIES = 3  # of a block
Pair = Dict[str, Any]  # see measure_pair, and PairBlocks of the package
WeightedFeeds = List[Tuple[float, Feeds]]  # of each size that is measured, with its weight
SETTLED = 0.02  # relative difference of block medians below which warm-up is over


class Timing(NamedTuple):
    """How long to measure: see profiles.measurement.TimingConfig. `critical` are the critical values of
    Student's t for 2 pairs, 3 pairs and so on.
    """

    pairs_min: int
    pairs_max: int
    pair_s: float
    block_s: float
    warmup_s: float
    half_width: float
    max_s: float
    engine_builds: int
    critical: list[float]

    @classmethod
    def of(cls, request: Request) -> Timing:
        """What a request asks for."""
        asked = {key: value for key, value in request["timing"].items() if key in cls._fields}
        return cls(**{"engine_builds": 1, **asked, "critical": request["critical"]})


def finished(ratios: list[float], timing: Timing, elapsed: float) -> bool:
    """The stop rule: interval narrow enough, enough pairs, or time over (but never fewer than two pairs)."""
    count = len(ratios)
    if count < 2:
        return False
    if count >= timing.pairs_max or elapsed >= timing.max_s:
        return True
    if count < timing.pairs_min:
        return False
    spread = timing.critical[count - 2] * statistics.stdev(ratios) / math.sqrt(count)
    return bool(spread / statistics.fmean(ratios) <= timing.half_width)


def measure_pair(
    runtime: Runtime, request: Request, feeds: list[WeightedFeeds], *, number: int, meter: Meter = None
) -> Pair:
    """One fresh pair of sessions: ABBA blocks. Which side is opened and timed first alternates from pair to
    pair.

    Where a model is built several times, pairs take the builds in turn. With a `meter`, joules per inference
    of the same blocks, or of longer ones behind them where the meter cannot be read in between.
    """
    timing, models = Timing.of(request), (request["baseline"], request["model"])
    request = {**request, "engine_build": number % timing.engine_builds}
    order = (0, 1) if number % 2 == 0 else (1, 0)
    requests = [of_side(request, "baseline"), of_side(request, "model")]
    inline = meter if meter is not None and meter.inline else None
    opened = {side: Subject(runtime, models[side], requests[side], feeds[side], inline) for side in order}
    subjects = [opened[0], opened[1]]
    started = time.perf_counter()
    warm_up(subjects, timing, full=number == 0)
    block_s = sum(max(timing.block_s, subject.inference_s) for subject in subjects) / 2
    names = ("baseline_s", "candidate_s", "baseline_wall_s", "candidate_wall_s")
    times: dict[str, list[float]] = {name: [] for name in names}
    joules: tuple[list[float], list[float]] = ([], [])
    single: list[float] = []
    for _ in range(max(1, round(timing.pair_s / (4 * block_s)))):
        for side in [*order, *reversed(order)]:
            timer, wall, stamps = subjects[side].block()
            times[names[side]].append(timer)
            times[names[side + 2]].append(wall)
            joules[side].append(subjects[side].block_j)
            if side == 1:
                single.extend(stamps)
    if meter is not None and not meter.inline:
        joules = longer_blocks(subjects, meter, order)
    chosen = np.random.default_rng(number).permutation(len(single))[:INFERENCES_KEPT]
    return {
        **times,
        "inference_wall_s": [single[index] for index in chosen],
        "loop_s": time.perf_counter() - started,
        "frozen_s": sum(subject.frozen_s for subject in subjects),
        **({} if meter is None else {"baseline_j": joules[0], "candidate_j": joules[1]}),
    }


def longer_blocks(
    subjects: list[Subject], meter: Meter, order: Sequence[int]
) -> tuple[list[float], list[float]]:
    """Joules per inference of both sides in turn, of blocks that the meter resolves."""
    joules: tuple[list[float], list[float]] = ([], [])
    length = block_seconds(meter, 0.0)
    with meter:
        for side in [*order, *reversed(order)]:
            inferences, began, before = 0, time.perf_counter(), meter.joules()
            while time.perf_counter() - began < length:
                inferences += len(subjects[side].block()[2])
            joules[side].append((meter.joules() - before) / inferences)
    return joules


def of_side(request: Request, side: str) -> Request:
    """The request without the session options that the file of a side (`model`, `baseline`) is measured
    without.
    """
    left_out = request.get("options_left_out", {}).get(side, ())
    options = {key: value for key, value in request.get("runtime_options", {}).items() if key not in left_out}
    return {**request, "runtime_options": options}


class Subject:
    """A session with bound inputs, ready to be timed. `inference_s` is its last known time of one
    inference.
    """

    def __init__(
        self, runtime: Runtime, model: str, request: Request, feeds: WeightedFeeds, meter: Meter = None
    ):
        self._meter, self.block_j = meter, 0.0  # joules per inference of the last block
        self.bound = bound_to(runtime, model, request, feeds)
        self.block_s: float = request["timing"]["block_s"]
        self.bound.once()  # the first inference allocates
        self.inference_s = min(self.bound.once(), self.bound.once())
        self.frozen_s = 0.0  # spent in blocks during which this process or the machine was frozen

    def block(self) -> tuple[float, float, list[float]]:
        """Seconds per inference of one block (timer, wall-clock) and the wall-clock seconds of each
        inference. A block in which this process or the machine was frozen is measured again.
        """
        count = max(1, round(self.block_s / self.inference_s))
        for attempt in range(TRIES):
            self.refill()
            before = self._joules()
            began = time.perf_counter()
            times = self.bound.block(count)
            took = time.perf_counter() - began
            self.block_j = (self._joules() - before) / len(times[2])
            if took < FROZEN_S + 10 * count * self.inference_s or attempt == TRIES - 1:
                break
            self.frozen_s += took
        return times

    def _joules(self) -> float:
        return 0.0 if self._meter is None else float(self._meter.joules())

    def refill(self) -> None:
        """Untimed inferences after a switch of sides: caches fill, the other side's threads go to sleep."""
        spent = self.bound.once()
        while spent < 0.05 * self.block_s:
            spent += self.bound.once()


def bound_to(runtime: Runtime, model: str, request: Request, feeds: WeightedFeeds) -> Bound:
    """The model with inputs of one size, or of several."""
    session = runtime.open_session(model, request)
    bounds = [session.bind(one) for _, one in feeds]
    return bounds[0] if len(bounds) == 1 else Mixed(bounds, [weight for weight, _ in feeds])


class Mixed:
    """A Bound whose inferences have several sizes: each time is the weighted mean over them."""

    def __init__(self, bounds: Sequence[Bound], weights: Sequence[float]):
        self._bounds, self._weights = bounds, weights

    def once(self) -> float:
        """See Bound."""
        return self._mean([bound.once() for bound in self._bounds])

    def block(self, count: int) -> tuple[float, float, list[float]]:
        """See Bound. Sizes come in the frequency of their weights, each at least once."""
        counts = [max(1, round(weight * count)) for weight in self._weights]
        blocks = [bound.block(often) for bound, often in zip(self._bounds, counts)]
        timer, wall = self._mean([block[0] for block in blocks]), self._mean([block[1] for block in blocks])
        return timer, wall, [single for block in blocks for single in block[2]]

    def _mean(self, times: Sequence[float]) -> float:
        return sum(weight * time for weight, time in zip(self._weights, times))


def warm_up(subjects: list[Subject], timing: Timing, *, full: bool) -> None:
    """Runs both sides in turn; `full`: for `warmup_s` each and until the block medians of both settle."""
    histories: list[list[float]] = [[], []]
    spent, least = [0.0, 0.0], timing.warmup_s if full else 0.0
    while True:
        for side, subject in enumerate(subjects):
            start = time.perf_counter()
            histories[side].append(subject.block()[0])
            spent[side] += time.perf_counter() - start
            subject.inference_s = statistics.median(histories[side][-3:])
        if min(spent) >= least and (not full or all(map(settled, histories))):
            return
        if min(spent) >= 5 * max(least, timing.block_s):
            return


def settled(history: list[float]) -> bool:
    """Whether the median of the last three blocks equals that of the three before, within `SETTLED`."""
    if len(history) < 6:
        return False
    before, after = statistics.median(history[-6:-3]), statistics.median(history[-3:])
    return abs(after / before - 1) <= SETTLED
