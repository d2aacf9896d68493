"""Picking one point for all targets of a run: one compression, and on every target its numbers are within the
limits there.
"""

from collections.abc import Mapping
from dataclasses import replace

from .formats import Formats, Point, Run, label_of
from .limits import Limits
from .pick import (
    Miss,
    NothingMeets,
    Objective,
    costs_of,
    describe_excess,
    drop_scale_of,
    excess_of,
    limits_of,
    limits_text,
)
from .pick import measured_points as points_of
from .views import is_measured_on, point_on, run_on, targets_of


def pick_jointly(run: Run, limits: Mapping[str, Limits], *, minimize: Objective = "latency") -> Point:
    """The point with the least `minimize` on the target where it is worst, among those within the limits of
    every target.

    Latencies and sizes of different targets compare as ratios to the original's. Raises NothingMeets.
    """
    points = complete_points(run)
    meeting = [point for point in points if not any(_excess(point, run, limits).values())]
    if not meeting:
        raise _nothing_meets(run, limits)
    return min(
        meeting,
        key=lambda point: (
            worst_cost(point, run, minimize),
            worst_cost(point, run, "drop"),
            points.index(point),
        ),
    )


def recommended_jointly(run: Run) -> tuple[Point, str]:
    """The point that a reader should see first, and in half a sentence why it; see pick.recommended."""
    limits = {name: limits_of(run_on(run, name)) for name in targets_of(run)}
    drop = next(iter(limits.values())).drop or drop_scale_of(run) / 5
    limits = {name: replace(own, drop=drop) for name, own in limits.items()}
    words = joint_limits_text(limits, run)
    try:
        fastest = pick_jointly(run, limits)
    except NothingMeets as error:
        return error.misses[0].point, f"nothing meets {words}; this is the nearest miss"
    if fastest["trial"] != run["baseline"]["trial"]:
        return fastest, f"on its slowest target the fastest point with {words}"
    return pick_jointly(
        run, limits, minimize="size"
    ), f"the smallest point with {words}; none is faster than the original"


def complete_points(run: Run) -> list[Point]:
    """The points that were measured on every target, the joint front first."""
    names = targets_of(run)
    return [point for point in points_of(run) if all(is_measured_on(point, name) for name in names)]


def worst_cost(point: Point, run: Run, objective: Objective) -> float:
    """Drop in the metric's unit, or the ratio to the original's latency or size, on the target where it is
    worst.
    """
    pairs = [
        (costs_of(point_on(point, name)), costs_of(point_on(run["baseline"], name)))
        for name in targets_of(run)
    ]
    return max(
        own[objective] if objective == "drop" else own[objective] / original[objective]
        for own, original in pairs
    )


def joint_limits_text(limits: Mapping[str, Limits], run: Run) -> str:
    """The limits in words: `drop ≤ 1.00 pp, latency ≤ 2.000 ms on cpu, latency ≤ 9.000 ms on edge`; `no
    limit` without any.
    """
    kinds = (
        {name: Limits(drop=own.drop) for name, own in limits.items()},
        {name: Limits(latency_s=own.latency_s) for name, own in limits.items()},
        {name: Limits(size_bytes=own.size_bytes) for name, own in limits.items()},
    )
    parts = [part for kind in kinds for part in _one_kind(kind, run)]
    return ", ".join(parts) or "no limit"


def _one_kind(limits: Mapping[str, Limits], run: Run) -> list[str]:
    """The limit once where it is the same on all targets, else with the name of each target that has one."""
    if len(set(limits.values())) == 1:
        (own,) = set(limits.values())
        return [limits_text(own, run)] if own != Limits() else []
    return [f"{limits_text(own, run)} on {name}" for name, own in limits.items() if own != Limits()]


def _excess(point: Point, run: Run, limits: Mapping[str, Limits]) -> dict[str, dict[str, float]]:
    """By target, by how much the point exceeds each limit that it breaks."""
    return {name: excess_of(point_on(point, name), limits[name]) for name in targets_of(run)}


def _nothing_meets(run: Run, limits: Mapping[str, Limits], *, count: int = 3) -> NothingMeets:
    scale = drop_scale_of(run)

    def distance(point: Point) -> float:
        excess = _excess(point, run, limits)
        return sum(sum(limits[name].relative(own, drop_unit=scale).values()) for name, own in excess.items())

    nearest = sorted(complete_points(run), key=distance)[:count]
    lines = [f"  {label_of(point, run)}: {_missed(point, run, limits)}" for point in nearest]
    misses = tuple(Miss(point=point, excess=_flat(_excess(point, run, limits))) for point in nearest)
    told = f"No measured point has {joint_limits_text(limits, run)}. The nearest misses:"
    return NothingMeets("\n".join([told, *lines]), misses=misses)


def _missed(point: Point, run: Run, limits: Mapping[str, Limits]) -> str:
    formats = Formats.of(run)
    parts = [
        f"{name} {formats.latency_of(point_on(point, name))}, {formats.size_of(point_on(point, name))}"
        + (f" — exceeds {describe_excess(excess, run, point=point_on(point, name))}" if excess else "")
        for name, excess in _excess(point, run, limits).items()
    ]
    return f"{formats.quality_of(point)}; " + "; ".join(parts)


def _flat(excess: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """By limit, the largest excess of any target."""
    found: dict[str, float] = {}
    for own in excess.values():
        found |= {name: max(value, found.get(name, value)) for name, value in own.items()}
    return found
