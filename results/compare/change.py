"""Change: one quantity of a point then and of another now, with the interval of both together.

The one rule of what is worse: the whole 95 % interval lies beyond the tolerance. Comparisons of runs, the
checks of a night and what it measures beside each other all make a Change.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..records.latency import Predicted
from ..records.reading import Interval
from ..view import PointOn
from .differences import same_data, same_metric
from .tolerance import Quantity, Tolerance

Verdict = Literal["better", "worse", "same", "unknown"]
_LARGEST = 1e100  # of a number that is computed here: what strangers wrote may be near the end of floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A quantity then and now. Latency, size and energy are ratios to each one's original, a drop is in the
    metric's unit; upwards is worse.

    `change` is relative (0.05: 5 % more), of a drop a difference. `interval` is that
    of the change, 95 %, both measurements together; None where one has none. `paired`: the same artifact
    answered the same samples, so that the difference is exact there.
    """

    quantity: Quantity
    old: float
    new: float
    change: float
    interval: Interval | None
    tolerance: float
    paired: bool = False

    def __post_init__(self) -> None:
        if self.interval is not None and not self.interval[0] <= self.change <= self.interval[1]:
            raise ValueError(f"interval {list(self.interval)} must hold the change {self.change}.")

    @property
    def verdict(self) -> Verdict:
        """Worse or better where the whole interval lies beyond the tolerance; unknown without one."""
        if self.interval is None:
            return "unknown"
        if self.interval[0] > self.tolerance:
            return "worse"
        return "better" if self.interval[1] < -self.tolerance else "same"

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields, and the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def changes(old: PointOn, new: PointOn, tolerance: Tolerance) -> dict[Quantity, Change]:
    """By quantity, what changed from a point of one run to a point of another. No drop where the metrics
    differ: then it means two things. An energy where both have one.
    """
    made = [_latency(old, new, tolerance), _size(old, new, tolerance)]
    if same_metric(old.view, new.view):
        made.append(_drop(old, new, tolerance))
    energy = _energy(old, new, tolerance)
    return {change.quantity: change for change in [*made, *([energy] if energy else [])]}


def change_of_ratios(
    old: tuple[float, Interval],
    new: tuple[float, Interval],
    tolerance: float,
    *,
    quantity: Quantity = "latency",
) -> Change:
    """The change from a ratio with its interval to another that was measured at another time."""
    halves = [_relative_half(interval) for _, interval in (old, new)]
    return _of_ratios(quantity, (old[0], new[0]), halves, tolerance)


def change_beside(interval: Interval, tolerance: float) -> Change:
    """The change of a latency of which the two were measured beside each other, with the interval of new
    divided by old.
    """
    low, high = interval[0] - 1, interval[1] - 1
    middle = (low + high) / 2
    return Change(
        quantity="latency",
        old=1.0,
        new=1 + middle,
        change=middle,
        interval=(low, high),
        tolerance=tolerance,
        paired=True,
    )


def change_on_same_samples(old: float, new: float, tolerance: float) -> Change:
    """The change of a drop of one file that answered the same samples twice: exact."""
    change = new - old
    return Change(
        quantity="drop",
        old=old,
        new=new,
        change=change,
        interval=(change, change),
        tolerance=tolerance,
        paired=True,
    )


def paired(old: PointOn, new: PointOn) -> bool:
    """Whether both are the same file that answered the same samples."""
    digest = old.artifact.digest
    return bool(digest) and digest == new.artifact.digest and same_data(old.view, new.view)


def relative_half_width(point: PointOn) -> float | None:
    """Half of the interval of the ratio to the original, as a share of it; 0 of the original by definition,
    None of a prediction.
    """
    if _is_original(point):
        return 0.0
    if isinstance(point.latency, Predicted):
        return None
    return _relative_half(point.latency.ratio_interval)


def latency_ratio(point: PointOn) -> float:
    """The latency as a ratio to the original's; that of the original is 1 by definition."""
    return 1.0 if _is_original(point) else point.latency.ratio


def half_drop(point: PointOn) -> float | None:
    """Half of the interval of the drop. Runs of before drops had one are taken by the metric's own, which is
    wider.
    """
    if point.half_drop is not None or point.quality.interval is None:
        return point.half_drop
    return (point.quality.interval[1] - point.quality.interval[0]) / 2


def bounded(value: float) -> float:
    """The value, at most 1e100 in size."""
    return min(max(value, -_LARGEST), _LARGEST)


def _is_original(point: PointOn) -> bool:
    return point.trial == point.view.baseline.trial


def _room(tolerance: Tolerance, quantity: Quantity, point: PointOn) -> float:
    return tolerance.of(quantity, point.view.task.metric, point.view.baseline.quality.validation)


def _relative_half(interval: Interval) -> float:
    """Half of an interval as a share of its middle."""
    low, high = (max(end, 0.0) for end in interval)
    return (high - low) / (high + low) if high + low > 0 else 0.0


def _of_ratios(
    quantity: Quantity, ratios: tuple[float, float], halves: Sequence[float | None], tolerance: float
) -> Change:
    """The ratio of two ratios. Their relative errors are independent: two runs, two hours."""
    known = [half for half in halves if half is not None]
    times, interval = bounded(ratios[1] / ratios[0]), None
    if len(known) == 2:
        factor = math.exp(math.hypot(*known))
        interval = (times / factor - 1, times * factor - 1)
    return Change(
        quantity=quantity,
        old=ratios[0],
        new=ratios[1],
        change=times - 1,
        interval=interval,
        tolerance=tolerance,
    )


def _latency(old: PointOn, new: PointOn, tolerance: Tolerance) -> Change:
    halves = [relative_half_width(point) for point in (old, new)]
    ratios = (latency_ratio(old), latency_ratio(new))
    return _of_ratios("latency", ratios, halves, _room(tolerance, "latency", new))


def _energy(old: PointOn, new: PointOn, tolerance: Tolerance) -> Change | None:
    """None where one has no energy. Ratios to each one's original, as latencies are."""
    then, now = (point.latency.energy for point in (old, new))
    if then is None or now is None:
        return None
    ratios = [
        (1.0, (1.0, 1.0)) if _is_original(point) else (energy.ratio, energy.ratio_interval)
        for point, energy in ((old, then), (new, now))
    ]
    return change_of_ratios(ratios[0], ratios[1], _room(tolerance, "energy", new), quantity="energy")


def _size(old: PointOn, new: PointOn, tolerance: Tolerance) -> Change:
    """Sizes are exact."""
    change = bounded(new.size_ratio / old.size_ratio) - 1
    return Change(
        quantity="size",
        old=old.size_ratio,
        new=new.size_ratio,
        change=change,
        interval=(change, change),
        tolerance=_room(tolerance, "size", new),
    )


def _drop(old: PointOn, new: PointOn, tolerance: Tolerance) -> Change:
    """Both drops are against an original on the same samples, which makes their errors alike: taken as
    independent, the interval is rather too wide than too narrow.
    """
    change, interval = bounded(new.drop - old.drop), None
    same = paired(old, new)
    halves = [0.0, 0.0] if same else [half_drop(old), half_drop(new)]
    known = [half for half in halves if half is not None]
    if len(known) == 2:
        half = bounded(math.hypot(*known))
        interval = (change - half, change + half)
    return Change(
        quantity="drop",
        old=old.drop,
        new=new.drop,
        change=change,
        interval=interval,
        tolerance=_room(tolerance, "drop", new),
        paired=same,
    )
