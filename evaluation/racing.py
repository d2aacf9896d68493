"""Racing: a candidate is validated on nested parts of the split, each twice as large, and no longer than it
could join the front.

Its latency and size are known by then. Another candidate that is at most as slow and as large sets the bar:
once the drop of the whole split is above that with near certainty, the rest of the samples cannot change
anything. The drop so far is paired with the original's answers to the same samples; what it says of all N
samples, given n of them, is narrower by the square root of 1 - n / N (finite populations: Cochran, "Sampling
Techniques", 1977, section 2.6).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..results.records.latency import AnyLatency
from ..results.records.point import ArtifactFacts
from ..results.records.reading import Interval
from ..targets.on_device.inputs import Picked
from ..tasks.task import Metric
from .uncertainty import Scores, Z, drop_interval

LEAST = 200  # samples of the first part
PARTS = 16  # of the split: the smallest first part
Z_STOP = 3.0  # standard deviations that the drop must be above the bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The drop that a candidate must not exceed: that of `trial`, or the user's limit (None)."""

    drop: float
    trial: int | None


class Race(Protocol):
    """Knows what others have reached."""

    def bar(self, artifact: ArtifactFacts, latency: AnyLatency) -> Bar | None:
        """The bar for a candidate of this size and latency; None where it joins the front in any case."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Why a candidate cannot join the front: the drop of the whole split, by `samples` of `of`."""

    bar: Bar
    samples: int
    of: int
    drop: float
    interval: Interval
    latency: AnyLatency | None = None


class Beaten(Exception):  # noqa: N818 - what came of a race, not what went wrong
    """A candidate lost its race."""

    def __init__(self, lost: Lost):
        super().__init__()
        self.lost = lost


def stages(samples: int) -> Iterator[int]:
    """The ends of the nested parts of a split, as Picked counts: a PARTS-th and its doubles, as far as they
    have LEAST samples; the whole split at last.
    """
    part = Picked.WHOLE // PARTS
    while part < Picked.WHOLE:
        if samples * part >= LEAST * Picked.WHOLE:
            yield part
        part *= 2
    yield Picked.WHOLE


def require_in_race(metric: Metric, original: Scores, candidate: Scores, bar: Bar, *, of: int) -> None:
    """Raises Beaten when the candidate's drop on a split of `of` samples is above the bar, by the scores of
    both on a part of it. Without an interval nothing is known.
    """
    interval = drop_interval(metric, original, candidate)
    if interval is None:
        return
    left = max(0.0, 1 - candidate.samples / of) ** 0.5
    drop = metric.drop(candidate.value, baseline=original.value)
    middle, half = (interval[0] + interval[1]) / 2, left * (interval[1] - interval[0]) / 2
    if middle - half * Z_STOP / Z > bar.drop:
        around = min(drop, middle - half), max(drop, middle + half)
        raise Beaten(Lost(bar=bar, samples=candidate.samples, of=of, drop=drop, interval=around))
