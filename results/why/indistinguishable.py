"""The points of the front that their latencies do not tell apart."""

from collections.abc import Sequence
from typing import Any

from ..formats import Formats, Point, Run, is_predicted, label_of, ratio_interval_of, ratio_of, ratio_text
from .space import worthy

SHOWN_NAMES = 8


def indistinguishable_groups(run: Run) -> list[dict[str, Any]]:
    """Disjoint groups of two or more points of the front in which *every* pair of latency intervals overlaps,
    the fastest first.

    Overlapping is not transitive: in a chain a–b–c, a and c may be told apart. So a group is a largest set of
    mutually overlapping intervals, and the next one is sought among the other points. Points of two groups
    may overlap too: a point's own `indistinguishable_from` has every pair. Points outside the objective space
    are left out, and predicted ones.
    """
    measured = (point for point in run["front"] if worthy(run, point) and not is_predicted(point))
    left, groups = sorted(measured, key=_ratio), []
    while len(members := _largest(left)) > 1:
        groups.append(members)
        taken = {point["trial"] for point in members}
        left = [point for point in left if point["trial"] not in taken]
    return [_group(run, members) for members in sorted(groups, key=lambda group: _ratio(group[0]))]


def _largest(points: Sequence[Point]) -> list[Point]:
    """A largest set of mutually overlapping intervals, of equals the fastest; empty without points.

    Intervals that overlap pairwise have a place in common (Helly), and the largest of their low ends is one.
    """
    starts = sorted(interval[0] for point in points if (interval := ratio_interval_of(point)) is not None)
    return max(
        ([point for point in points if _covers(point, start)] for start in starts), key=len, default=[]
    )


def _group(run: Run, members: Sequence[Point]) -> dict[str, Any]:
    formats = Formats.of(run)
    smallest = min(members, key=lambda point: (point["artifact"]["size_bytes"], point["drop"]))
    best = min(members, key=lambda point: (point["drop"], point["artifact"]["size_bytes"]))
    low, high = (ratio_text(_ratio(members[index])) for index in (0, -1))
    text = f"{_names(members, run)} cannot be told apart by latency ({low if low == high else f'{low[:-1]}–{high}'}): "
    size, drop = formats.size_of(smallest), formats.drop(best["drop"])
    if smallest is best:
        text += f"take {label_of(best, run)}, which is the smallest ({size}) and has the least drop ({drop})."
    else:
        text += (
            f"choose by size ({label_of(smallest, run)}: {size}) or by drop ({label_of(best, run)}: {drop})."
        )
    return {
        "trials": [point["trial"] for point in members],
        "smallest": smallest["trial"],
        "least_drop": best["trial"],
        "text": text,
    }


def _names(points: Sequence[Point], run: Run) -> str:
    """`Trials 5, 17 and uniform int8`; beyond SHOWN_NAMES the rest is counted."""
    names = [label_of(point, run).removeprefix("trial ") for point in points]
    if len(names) > SHOWN_NAMES:
        names = [*names[: SHOWN_NAMES - 1], f"{len(names) - SHOWN_NAMES + 1} more"]
    *rest, last = names
    return f"Trials {', '.join(rest)} and {last}"


def _ratio(point: Point) -> float:
    return ratio_of(point)


def _covers(point: Point, ratio: float) -> bool:
    interval = ratio_interval_of(point)
    return interval is not None and bool(interval[0] <= ratio <= interval[1])
