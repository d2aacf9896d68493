"""Models timed in turns: each in a worker of its own, of another runtime or with other settings.

Two versions of a library, or two runtimes that bring their own threads, cannot share a process, so that a
worker of each stands beside the others. A round asks all of them in order and then in reverse (ABBA), each
for a short time in fresh sessions, and gives one ratio of latencies to the first: what drifts over seconds
falls out of it. Rounds go on, each with fresh processes, until the 95 % intervals of their means (Student's
t) are narrow.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from ..profiles.measurement import PairBlocks, TimingConfig, critical_value, relative_half_width
from .target import MEASURE_TIMEOUT_S
from .transport import Transport

ROUNDS_MIN, ROUNDS_MAX = 4, 12
HALF_WIDTH = 0.008  # of the interval, relative, that is narrow enough
MEDIAN_FROM, COVERAGE = 6, 0.95  # of fewer rounds no two hold the median with this probability
TIMING = TimingConfig(pairs_min=2, pairs_max=2, pair_s=0.12, warmup_s=0.1)

Estimate = Callable[[Sequence[float]], tuple[float, tuple[float, float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A model, and what opens a fresh worker for it; `workload` says what a target times with."""

    model: Path
    workload: Mapping[str, object]
    open_worker: Callable[[], Transport]


def ratios_in_turns(
    turns: Sequence[Turn],
    *,
    timing: TimingConfig = TIMING,
    half_width: float = HALF_WIDTH,
    estimate: Estimate | None = None,
    rounds_min: int = ROUNDS_MIN,
    rounds_max: int = ROUNDS_MAX,
    time_left: Callable[[], bool] = lambda: True,
) -> list[tuple[float, ...]]:
    """For each turn the ratios of its latency to the first one's, one for each round. Lease and control are
    the caller's.

    It ends after `rounds_min` when all are known to within `half_width` (relative, by the interval of
    `estimate`; by default that of the mean) or the time is over. Raises StageError when a model cannot be
    run.
    """
    estimate = estimate or mean_and_interval
    rounds: list[list[float]] = []
    while len(rounds) < rounds_max:
        rounds.append(_round(turns, timing, mirrored=len(rounds) % 2 == 1))
        if len(rounds) < rounds_min:
            continue
        known = [estimate(ratios) for ratios in zip(*rounds, strict=True)]
        if all(high - low <= 2 * half_width * middle for middle, (low, high) in known) or not time_left():
            break
    return [tuple(ratios) for ratios in zip(*rounds, strict=True)]


def mean_and_interval(ratios: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The mean of the rounds, and its 95 % interval by Student's t."""
    mean = statistics.fmean(ratios)
    spread = mean * relative_half_width(tuple(ratios))
    return mean, (mean - spread, mean + spread)


def middle_and_interval(ratios: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """The median of six rounds or more, and its 95 % interval between two of the rounds (David & Nagaraja,
    Order Statistics, 2003, section 7.1): errors need not be normal, and a disturbed round does not widen it.
    Of fewer rounds the mean.
    """
    count, ordered = len(ratios), sorted(ratios)
    if count < MEDIAN_FROM:
        return mean_and_interval(ratios)
    outside, rank = 0.0, 0
    while 2 * (outside + math.comb(count, rank) / 2**count) <= 1 - COVERAGE:
        outside += math.comb(count, rank) / 2**count
        rank += 1
    return statistics.median(ordered), (ordered[rank - 1], ordered[count - rank])


def _round(turns: Sequence[Turn], timing: TimingConfig, *, mirrored: bool) -> list[float]:
    """One ratio for each turn. `mirrored`: the last one goes first and last."""
    with ExitStack() as stack:
        workers = [stack.enter_context(turn.open_worker()) for turn in turns]
        order = list(range(len(turns)))[:: -1 if mirrored else 1]
        seconds: list[list[float]] = [[] for _ in turns]
        for index in (*order, *reversed(order)):
            seconds[index] += _seconds(workers[index], turns[index], timing)
    latencies = [statistics.median(each) for each in seconds]
    return [latency / latencies[0] for latency in latencies]


def _seconds(worker: Transport, turn: Turn, timing: TimingConfig) -> list[float]:
    """The seconds of an inference, of each block: the model beside itself, so that both sides count."""
    request = {
        "op": "measure",
        "model": str(turn.model.resolve()),
        "baseline": str(turn.model.resolve()),
        "timing": asdict(timing),
        "critical": [critical_value(1)],
        **turn.workload,
    }
    reply = worker.send(request, timeout_s=2 * timing.max_s + MEASURE_TIMEOUT_S)
    pairs = [PairBlocks.from_json(pair) for pair in reply["pairs"]]
    return [seconds for pair in pairs for side in (pair.baseline_s, pair.candidate_s) for seconds in side]
