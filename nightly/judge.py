"""What counts as a change: intervals of quotients, references from several nights, tolerances.

Two measurements of different nights are compared by the quotient of their ratios to the original. Its 95 %
interval adds the relative half-widths of both in quadrature: they are independent. A quotient is worse when
its whole interval is beyond 1 + tolerance. The tolerance is there for what intervals do not hold: the same
ratio differs from hour to hour by a few percent on a machine that does other work, too.
"""

import math
import statistics
from collections.abc import Sequence

from ..profiles.measurement import critical_value
from ..results.records.facts import MetricFacts
from ..results.records.reading import Interval

REFERENCE_NIGHTS = 5  # the first ones after a deployment, whose mean the later ones are compared with


def quotient(now: float, now_interval: Interval, before: float, before_interval: Interval) -> Interval:
    """The interval of now divided by before."""
    spread = math.hypot(half_width(now, now_interval), half_width(before, before_interval))
    middle = now / before
    return middle * (1 - spread), middle * (1 + spread)


def half_width(value: float, interval: Interval) -> float:
    """Half of the interval's width, relative to the value."""
    return (interval[1] - interval[0]) / 2 / value


def beyond(interval: Interval, tolerance: float) -> bool:
    """Whether a quotient is larger than 1 by more than the tolerance, with its whole interval."""
    return interval[0] > 1 + tolerance


def below(interval: Interval, tolerance: float) -> bool:
    """Whether a quotient is smaller than 1 by more than the tolerance, with its whole interval."""
    return interval[1] < 1 - tolerance


def whole_of(metric: MetricFacts, original: float) -> float:
    """What the whole of a quality is in the metric's unit, of which a tolerance is a share: 1 of a fraction,
    else the size of the original's metric.
    """
    return 1.0 if metric.unit == "fraction" else abs(original) or 1.0


def together(values: Sequence[float], intervals: Sequence[Interval]) -> tuple[float, Interval]:
    """The mean of what several nights measured of the same, and its interval: that of their own spread, where
    that is wider than what each of them says.
    """
    mean, count = statistics.fmean(values), len(values)
    inside = math.hypot(*(half_width(*pair) for pair in zip(values, intervals, strict=True))) / count
    between = 0.0
    if count > 2:
        between = critical_value(count - 1) * statistics.stdev(values) / math.sqrt(count) / mean
    spread = max(inside, between)
    return mean, (mean * (1 - spread), mean * (1 + spread))
