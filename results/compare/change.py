"""Change: one quantity of a point then and of another now, with the interval of both together."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ...errors import InputError
from ...profiles import Drop, parse_drop
from ..records.latency import Predicted
from ..records.reading import Interval
from ..view import PointOn
from .differences import same_data, same_metric

Quantity = Literal["latency", "size", "drop"]
Verdict = Literal["better", "worse", "same", "unknown"]
_SHARES = ("latency", "size")
_LARGEST = 1e100  # of a number that is computed here: what strangers wrote may be near the end of floats
_LEAST_DROP = Drop(kind="percent", value=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What is no loss even where it is certain: shares of latency and size, and a drop."""

    latency: float = 0.05  # differences from hour to hour stay below that, as in `verify`
    size: float = 0.01
    drop: Drop = _LEAST_DROP

    def __post_init__(self) -> None:
        if min(self.latency, self.size) < 0:
            raise ValueError("A tolerance must be at least 0.")

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Tolerance":
        """The tolerances of texts such as `latency=2%`, `size=0%` and `drop=0.1pp`; without a name `2%` is
        that of latency and size, `0.1pp` that of the drop. InputError says what is wrong with one.
        """
        given: dict[str, Drop] = {}
        for text in texts:
            name, named, amount = text.strip().rpartition("=")
            parsed = parse_drop(amount)
            names = [name] if named else ["drop"] if parsed.kind != "percent" else list(_SHARES)
            if named and name not in get_args(Quantity):
                raise InputError(f"--tolerance {text!r} names {name!r}: choose latency, size or drop.")
            if named and name in _SHARES and parsed.kind != "percent":
                raise InputError(f"--tolerance {text!r} must be a share: write it like {name}=2%.")
            if twice := next((each for each in names if each in given), None):
                raise InputError(f"--tolerance gives {twice} twice: give it once.")
            given |= dict.fromkeys(names, parsed)
        plain = cls()
        return cls(
            latency=given["latency"].value / 100 if "latency" in given else plain.latency,
            size=given["size"].value / 100 if "size" in given else plain.size,
            drop=given.get("drop", plain.drop),
        )

    def of(self, quantity: Quantity, point: PointOn) -> float:
        """The tolerance of a change: a share of latency or size, a drop in the metric's unit. InputError for
        percentage points of a metric that is no fraction.
        """
        if quantity != "drop":
            return self.latency if quantity == "latency" else self.size
        metric, original = point.view.task.metric, point.view.baseline.quality.validation
        if self.drop.kind == "pp" and metric.unit != "fraction":
            raise InputError(
                f"--tolerance {self.drop} counts percentage points, but the metric {metric.name!r} is no "
                "fraction: write drop=0.1% (of the original's value) or drop=0.1abs (its own unit)."
            )
        return 0.0 if self.drop.kind == "percent" and original == 0 else self.drop.limit(original)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A quantity then and now. Latency and size are ratios to each one's original, a drop is in the metric's
    unit; upwards is worse.

    `change` is relative for latency and size (0.05: 5 % more), a difference for the drop. `interval` is that
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
    differ: then it means two things.
    """
    made = {"latency": _latency(old, new, tolerance), "size": _size(old, new, tolerance)}
    if same_metric(old.view, new.view):
        made["drop"] = _drop(old, new, tolerance)
    return {change.quantity: change for change in made.values()}


def paired(old: PointOn, new: PointOn) -> bool:
    """Whether both are the same file that answered the same samples."""
    digest = old.artifact.digest
    return bool(digest) and digest == new.artifact.digest and same_data(old.view, new.view)


def relative_half_width(point: PointOn) -> float | None:
    """Half of the interval of the ratio to the original, as a share of it; 0 of the original by definition,
    None of a prediction.
    """
    if point.trial == point.view.baseline.trial:
        return 0.0
    if isinstance(point.latency, Predicted):
        return None
    low, high = point.latency.ratio_interval
    return (high - max(low, 0.0)) / (high + max(low, 0.0))


def latency_ratio(point: PointOn) -> float:
    """The latency as a ratio to the original's; that of the original is 1 by definition."""
    return 1.0 if point.trial == point.view.baseline.trial else point.latency.ratio


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


def _latency(old: PointOn, new: PointOn, tolerance: Tolerance) -> Change:
    """The ratio of two ratios. Their relative errors are independent: two runs, two hours."""
    before, after = latency_ratio(old), latency_ratio(new)
    halves = [relative_half_width(point) for point in (old, new)]
    known = [half for half in halves if half is not None]
    times, interval = bounded(after / before), None
    if len(known) == 2:
        factor = math.exp(math.hypot(*known))
        interval = (times / factor - 1, times * factor - 1)
    return Change(
        quantity="latency",
        old=before,
        new=after,
        change=times - 1,
        interval=interval,
        tolerance=tolerance.of("latency", new),
    )


def _size(old: PointOn, new: PointOn, tolerance: Tolerance) -> Change:
    """Sizes are exact."""
    change = bounded(new.size_ratio / old.size_ratio) - 1
    return Change(
        quantity="size",
        old=old.size_ratio,
        new=new.size_ratio,
        change=change,
        interval=(change, change),
        tolerance=tolerance.of("size", new),
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
        tolerance=tolerance.of("drop", new),
        paired=same,
    )
