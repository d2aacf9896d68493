"""Picking one point of a run by what it may lose, how long it may take and how large it may be."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from ..errors import AutocompressError
from .formats import Formats, Point, Run, is_predicted, label_of, mark_of, seconds_of
from .front import drop_scale
from .limits import Limits

Objective = Literal["latency", "size", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A measured point that breaks a limit, and by how much (the limit's own unit)."""

    point: Point
    excess: Mapping[str, float]


class NothingMeets(AutocompressError):  # noqa: N818 - an outcome (exit code 1), not an error
    """No measured point meets the limits (exit code 1); `misses` are the nearest ones, best first."""

    def __init__(self, message: str, *, misses: tuple[Miss, ...]):
        super().__init__(message)
        self.misses = misses


def pick(
    run: Run,
    *,
    max_drop: float | None = None,
    max_latency: float | None = None,
    max_size: int | None = None,
    minimize: Objective = "latency",
) -> Point:
    """The point with the least `minimize` among those within the limits; ties go to the smaller drop, then
    the front.

    Drop in the metric's own unit (0.01 is one percentage point of a fraction), latency in seconds, size in
    bytes. A limit holds for the measured value, not for the far end of its interval. Raises NothingMeets.
    """
    limits = Limits(drop=max_drop, latency_s=max_latency, size_bytes=max_size)
    points = measured_points(run)
    meeting = [point for point in points if not excess_of(point, limits)]
    if not meeting:
        raise _nothing_meets(run, limits)
    return min(
        meeting, key=lambda point: (costs_of(point)[minimize], costs_of(point)["drop"], points.index(point))
    )


def recommended(run: Run) -> tuple[Point, str]:
    """The point that a reader should see first, and in half a sentence why it.

    It is the fastest one within the search's own limits; a search without a limit on the drop gets 1 pp (or 1
    % of the original metric). When nothing there is faster than the original, it is the smallest, and when
    nothing meets the limits the nearest miss; the sentence says so.
    """
    limits = limits_of(run)
    if limits.drop is None:
        limits = replace(limits, drop=drop_scale_of(run) / 5)
    words = limits_text(limits, run)
    cheapest = partial(
        pick, run, max_drop=limits.drop, max_latency=limits.latency_s, max_size=limits.size_bytes
    )
    try:
        fastest = cheapest(minimize="latency")
    except NothingMeets as error:
        return error.misses[0].point, f"nothing meets {words}; this is the nearest miss"
    if fastest["trial"] != run["baseline"]["trial"]:
        return fastest, f"the fastest point with {words}"
    smallest = cheapest(minimize="size")
    return smallest, f"the smallest point with {words}; none is faster than the original"


def limits_of(run: Run) -> Limits:
    """The search's own limits, resolved."""
    constraints = run["constraints"]
    return Limits(
        drop=constraints["max_drop_limit"],
        latency_s=constraints["max_latency_s"],
        size_bytes=constraints["max_size_bytes"],
    )


def limits_text(limits: Limits, run: Run) -> str:
    """The limits in words: `drop ≤ 1.00 pp and latency ≤ 0.300 ms`; `no limit` without any."""
    formats, parts = Formats.of(run), []
    if limits.drop is not None:
        parts.append(f"drop ≤ {formats.drop(limits.drop)}")
    if limits.latency_s is not None:
        parts.append(f"latency ≤ {formats.latency(limits.latency_s)}")
    if limits.size_bytes is not None:
        parts.append(f"size ≤ {formats.size(limits.size_bytes)}")
    return " and ".join(parts) or "no limit"


def excess_of(point: Point, limits: Limits) -> dict[str, float]:
    """By how much the point exceeds each limit that it breaks, in the limit's own unit; empty when it meets
    all.
    """
    costs = costs_of(point)
    signed = limits.excesses(drop=costs["drop"], latency_s=costs["latency"], size_bytes=int(costs["size"]))
    return {name: excess for name, excess in signed.items() if excess > 0}


def measured_points(run: Run) -> list[Point]:
    """Every measured point once: the front first, then the others, then uniform int8 and the original model."""
    listed = [*run["front"], *run["dominated"], run["uniform_int8"], run["baseline"]]
    found: dict[int, Point] = {}
    for point in listed:
        if point is not None:
            found.setdefault(point["trial"], point)
    return list(found.values())


def costs_of(point: Point) -> dict[str, float]:
    """The three objectives, all to be minimized: drop (metric's unit), latency (s), size (bytes)."""
    return {
        "drop": point["drop"],
        "latency": seconds_of(point),
        "size": point["artifact"]["size_bytes"],
    }


def drop_scale_of(run: Run) -> float:
    """The drop that ends the objective space, in the metric's own unit."""
    return drop_scale(run["task"]["metric"]["unit"], run["baseline"]["quality"]["validation"])


def nearest_misses(run: Run, limits: Limits, *, count: int = 3) -> tuple[Miss, ...]:
    """The points that break the limits by the least: the sum relative to the original's costs (drop:
    `drop_scale`).
    """
    scale = {**costs_of(run["baseline"]), "drop": drop_scale_of(run)}

    def distance(miss: Miss) -> float:
        return sum(excess / scale[name] for name, excess in miss.excess.items())

    misses = [Miss(point=point, excess=excess_of(point, limits)) for point in measured_points(run)]
    return tuple(sorted((miss for miss in misses if miss.excess), key=distance)[:count])


def describe_excess(excess: Mapping[str, float], run: Run, *, point: Point) -> str:
    """`drop by 0.20 pp, latency by 0.031 ms` of a point; `~0.031 ms` where its latency is predicted."""
    formats = Formats.of(run)
    words = {
        "drop": formats.drop(excess.get("drop", 0.0)),
        "latency": mark_of(point) + formats.latency(excess.get("latency", 0.0)),
        "size": formats.size(excess.get("size", 0.0)),
    }
    return ", ".join(f"{name} by {words[name]}" for name in excess)


def _nothing_meets(run: Run, limits: Limits) -> NothingMeets:
    formats, misses = Formats.of(run), nearest_misses(run, limits)
    lines = [
        f"  {label_of(miss.point, run)}: {formats.quality_of(miss.point)}, {formats.latency_of(miss.point)}, "
        f"{formats.size_of(miss.point)} — exceeds {describe_excess(miss.excess, run, point=miss.point)}"
        for miss in misses
    ]
    which = "" if is_predicted(run["baseline"]) else "measured "
    told = f"No {which}point has {limits_text(limits, run)}. The nearest misses:"
    return NothingMeets("\n".join([told, *lines]), misses=misses)
