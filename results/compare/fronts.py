"""Two fronts: their hypervolume in a common box, and which points of one are dominated by the other."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..front import dominates, hypervolume
from ..view import PointOn, RunOn
from .change import bounded, changes, half_drop, latency_ratio, relative_half_width
from .differences import same_metric
from .tolerance import Tolerance

DRAWS = 200  # of the measurements within their intervals, for the spread of a hypervolume
_EXACT = Tolerance(latency=0.0, size=0.0)
_Z = 1.96  # standard deviations on each side of a 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class HypervolumeChange:
    """The normalized hypervolumes of all points in one box: drops by `drop_scale` (None where the metrics
    differ, and each has its own), sizes and latencies by those of each one's original.

    `half_width`: half of the 95 % interval of the change that the measurements' spread alone makes.
    """

    old: float
    new: float
    half_width: float
    drop_scale: float | None

    def lost(self, tolerance: float) -> bool:
        """Whether the new one is smaller by more than this share of the old one, and than the spread."""
        return self.old - self.new > self.half_width + tolerance * self.old

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domination:
    """How many points of a front some point of the other front dominates; `certain` of these by more than the
    intervals. The originals are left out: they are on both.
    """

    points: int
    dominated: int
    certain: int

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)


def hypervolume_change(old: RunOn, new: RunOn) -> HypervolumeChange:
    """The hypervolumes of both in the box of the larger drop scale, and the spread of their difference: the
    standard deviation over points that are drawn within their intervals.
    """
    scales = [view.run.drop_scale for view in (old, new)]
    common = max(scales) if same_metric(old, new) else None
    clouds = [_Cloud.of(view.points, common or scale) for view, scale in zip((old, new), scales, strict=True)]
    random = np.random.default_rng(0)
    drawn = [[cloud.drawn(random) for cloud in clouds] for _ in range(DRAWS)]
    deviation = float(np.std([second - first for first, second in drawn], ddof=1))
    return HypervolumeChange(
        old=clouds[0].hypervolume, new=clouds[1].hypervolume, half_width=_Z * deviation, drop_scale=common
    )


def domination(front: Sequence[PointOn], by: Sequence[PointOn]) -> Domination:
    """How many points of the first front the second one dominates. Their metrics must be the same."""
    points, others = (_without_originals(one) for one in (front, by))
    pairs = [[_dominance(point, other) for other in others] for point in points]
    return Domination(
        points=len(points),
        dominated=sum(any(level > 0 for level in row) for row in pairs),
        certain=sum(any(level > 1 for level in row) for row in pairs),
    )


def _without_originals(front: Sequence[PointOn]) -> list[PointOn]:
    return [point for point in front if point.trial != point.view.baseline.trial]


def _dominance(point: PointOn, other: PointOn) -> int:
    """2 where the other is nowhere worse and somewhere better by more than the interval, 1 where it is so by
    the measured values, else 0.
    """
    if not dominates(_numbers(other), _numbers(point)):
        return 0
    moved = [change for name, change in changes(point, other, _EXACT).items() if name != "energy"]
    beyond = any(change.interval is not None and change.interval[1] < 0 for change in moved)
    return 2 if beyond else 1


def _numbers(point: PointOn) -> tuple[float, float, float]:
    return point.drop, point.size_ratio, latency_ratio(point)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cloud:
    """Objective vectors N × 3 (drop, size, latency), and the standard deviations of their errors; latencies
    and their deviations are relative.
    """

    vectors: np.ndarray
    deviations: np.ndarray

    @classmethod
    def of(cls, points: Sequence[PointOn], drop_scale: float) -> "_Cloud":
        vectors = [
            (bounded(one.drop / drop_scale), one.size_ratio, bounded(latency_ratio(one))) for one in points
        ]
        halves = [
            (bounded(_half(half_drop(one)) / drop_scale), 0.0, _half(relative_half_width(one)))
            for one in points
        ]
        return cls(vectors=np.array(vectors), deviations=np.array(halves) / _Z)

    @property
    def hypervolume(self) -> float:
        return hypervolume(map(_vector, self.vectors))

    def drawn(self, random: np.random.Generator) -> float:
        """The hypervolume of points with errors such as the measurements have."""
        noise = random.standard_normal(self.vectors.shape) * self.deviations
        drops, latencies = self.vectors[:, 0] + noise[:, 0], self.vectors[:, 2] * np.exp(noise[:, 2])
        return hypervolume(map(_vector, np.column_stack([drops, self.vectors[:, 1], latencies])))


def _half(value: float | None) -> float:
    return 0.0 if value is None else bounded(value)


def _vector(row: np.ndarray) -> tuple[float, float, float]:
    return float(row[0]), float(row[1]), float(row[2])
