"""The points of the front whose latencies cannot be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..formats import Formats, label_of, ratio_interval_of, ratio_text
from ..view import PointOn, RunOn
from .space import worthy

SHOWN_NAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Trials with overlapping latency intervals, the fastest first; the smallest one and that with the least
    drop, and whether the drops of these two cannot be told apart either; a sentence.
    """

    trials: tuple[int, ...]
    smallest: int
    least_drop: int
    same_drop: bool
    text: str


def indistinguishable_groups(run: RunOn) -> tuple[Group, ...]:
    """Disjoint groups of two or more points of the front in which *every* pair of latency intervals overlaps,
    the fastest first.

    Overlapping is not transitive: in a chain a–b–c, a and c may be told apart. So a group is a largest set of
    mutually overlapping intervals, and the next one is sought among the other points. Points of two groups
    may overlap too: a point's own `indistinguishable_from` has every pair. Points outside the objective space
    are left out, and predicted ones.
    """
    measured = (point for point in run.front if worthy(point) and not point.predicted)
    rest, groups = sorted(measured, key=_ratio), []
    while len(members := _largest(rest)) > 1:
        groups.append(members)
        taken = {point.trial for point in members}
        rest = [point for point in rest if point.trial not in taken]
    return tuple(_group(run, members) for members in sorted(groups, key=lambda group: _ratio(group[0])))


def _largest(points: Sequence[PointOn]) -> list[PointOn]:
    """A largest set of mutually overlapping intervals, of equals the fastest; empty without points.

    Intervals that overlap pairwise have a place in common (Helly), and the largest of their low ends is one.
    """
    intervals = [interval for point in points if (interval := ratio_interval_of(point.latency))]
    largest: list[PointOn] = []
    for start in sorted(low for low, _ in intervals):
        covering = [point for point in points if _covers(point, start)]
        largest = covering if len(covering) > len(largest) else largest
    return largest


def _group(run: RunOn, members: Sequence[PointOn]) -> Group:
    formats = Formats.of(run)
    smallest = min(members, key=lambda point: (point.size_bytes, point.drop))
    best = min(members, key=lambda point: (point.drop, point.size_bytes))
    low, high = ratio_text(_ratio(members[0])), ratio_text(_ratio(members[-1]))
    speed = low if low == high else f"{low[:-1]}–{high}"
    text = f"{_names(members, run)} cannot be told apart by latency ({speed}): "
    size, drop = formats.size_of(smallest), formats.drop_of(best)
    if smallest is best:
        text += f"take {label_of(best, run)}, which is the smallest ({size}) and has the least drop ({drop})."
    elif smallest.same_drop_as(best):
        text += (
            f"take {label_of(best, run)} for the least drop ({drop}), or {label_of(smallest, run)} for its "
            f"size ({size}); their drops cannot be told apart either."
        )
    else:
        text += (
            f"choose by size ({label_of(smallest, run)}: {size}) or by drop ({label_of(best, run)}: {drop})."
        )
    trials = tuple(point.trial for point in members)
    return Group(
        trials=trials,
        smallest=smallest.trial,
        least_drop=best.trial,
        same_drop=smallest.same_drop_as(best),
        text=text,
    )


def _names(points: Sequence[PointOn], run: RunOn) -> str:
    """`Trials 5, 17 and uniform int8`; beyond SHOWN_NAMES the rest is counted."""
    names = [label_of(point, run).removeprefix("trial ") for point in points]
    if len(names) > SHOWN_NAMES:
        names = [*names[: SHOWN_NAMES - 1], f"{len(names) - SHOWN_NAMES + 1} more"]
    *rest, last = names
    return f"Trials {', '.join(rest)} and {last}"


def _ratio(point: PointOn) -> float:
    return point.latency.ratio


def _covers(point: PointOn, ratio: float) -> bool:
    interval = ratio_interval_of(point.latency)
    return interval is not None and interval[0] <= ratio <= interval[1]
