"""The best point for an aim, within limits and not slower than the original."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..limits import Limits
from ..records.point import Point
from ..records.reading import Interval
from ..records.run import Run
from .slower import not_slower

Aim = Literal["latency", "size", "drop", "balance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A point, and the other trials whose latency is not told apart from its own by the measurements."""

    point: Point
    alike: tuple[int, ...] = ()


def choose(run: Run, limits: Mapping[str, Limits], aim: Aim, *, allow_slower: bool = False) -> Choice | None:
    """The best point for the aim among those within the limits, on several targets by its worst number.

    Only points count whose latency is shown to be at most the original's in its best float32 runtime on the
    device (`allow_slower`: all). The original is the choice where no other point is left and it is within the
    limits; else None.

    Latency: of the points that none is shown to be faster than, the one with the least drop, then the
    smallest. Drop and size: the least measured value; of equals the faster. Balance: the point that alone
    dominates the largest part of the objective space, which is (1 - drop) (1 - size) (1 - latency) as shares
    of it.
    """
    inside = within(run, limits)
    compressed = [point for point in inside if point.trial != run.baseline.trial]
    if not allow_slower:
        compressed = [point for point in compressed if not_slower(run, point)]
    if not compressed:
        original = run.placements[0]
        return Choice(point=original) if original in inside else None
    if aim == "latency":
        return _fastest(run, compressed)
    return Choice(point=min(compressed, key=lambda point: _cost(run, point, aim)))


def within(run: Run, limits: Mapping[str, Limits]) -> list[Point]:
    """The points (of alternatives, placements) that keep the limits on every target; a limit holds for the
    measured value.
    """
    return [point for point in run.placements if run.feasible(point, limits)]


def limits_for(run: Run, given: Mapping[str, Limits] | None = None) -> dict[str, Limits]:
    """By target, the limits of a choice: each that is given, else the search's own. Without a limit on the
    drop in either, 1 pp, or 1 % of the original's metric.
    """
    limits = {}
    for name, searched in run.limits.items():
        asked = (given or {}).get(name, Limits())
        drops = (asked.drop, searched.drop, run.drop_scale / 5)
        limits[name] = Limits(
            drop=next(drop for drop in drops if drop is not None),
            latency_s=searched.latency_s if asked.latency_s is None else asked.latency_s,
            size_bytes=searched.size_bytes if asked.size_bytes is None else asked.size_bytes,
            energy_j=searched.energy_j if asked.energy_j is None else asked.energy_j,
        )
    return limits


def _fastest(run: Run, points: Sequence[Point]) -> Choice:
    """Of the points that none is shown to be faster than, the best.

    No other interval ends before theirs begin. They all hold the least end of all, so that each pair of them
    overlaps.
    """
    ranges = [_worst_range(run, point) for point in points]
    end = min(high for _, high in ranges)
    equal = [point for point, (low, _) in zip(points, ranges, strict=True) if low <= end]
    best = min(equal, key=run.vector)
    return Choice(point=best, alike=tuple(point.trial for point in equal if point is not best))


def _worst_range(run: Run, point: Point) -> Interval:
    """The range of the ratio on the target where it is worst."""
    ranges = [run.ratio_range(name, measured) for name, measured in run.measured(point).items()]
    return max(low for low, _ in ranges), max(high for _, high in ranges)


def _cost(run: Run, point: Point, aim: Aim) -> tuple[float, ...]:
    """What the aim minimizes, then what decides between equals."""
    drop, size, latency = run.vector(point)
    if aim == "size":
        return size, drop, latency
    if aim == "drop":
        return drop, latency, size
    gains = [max(0.0, 1 - max(0.0, share)) for share in (drop, size, latency)]
    return -gains[0] * gains[1] * gains[2], drop, size
