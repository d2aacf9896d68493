"""Whether a point is shown to be no slower than the original in its best float32 runtime on the device.

The ratio to the original on the same target was measured in turns. Where a run has other runtimes of the same
device, the original's seconds there count as well. Those were measured at another time, so that their
quotient is uncertain by `APART` besides both intervals.
"""

import math

from ..records.latency import AnyLatency, Predicted
from ..records.originals import OriginalOn
from ..records.point import Point
from ..records.reading import Interval
from ..records.run import Run

APART = 0.05  # relative; what seconds of two times differ by on one machine, as in `verify`


def not_slower(run: Run, point: Point) -> bool:
    """Whether the point's latency is shown to be at most the original's on every target, in each float32
    runtime of its device that the run knows: the whole interval. The original is not slower than itself.
    """
    targets = run.measured(point)
    return point.trial == run.baseline.trial or all(slowdown(run, point, name)[1] <= 1.0 for name in targets)


def slowdown(run: Run, point: Point, target: str) -> Interval:
    """Where the point's latency on a target, divided by that of the original, lies: in the runtime of the
    device in which that quotient is largest.
    """
    latency = run.measured(point)[target].latency
    ranges = [ratio_range(latency), *(_quotient(latency, one) for one in run.originals_beside(target))]
    return max(low for low, _ in ranges), max(high for _, high in ranges)


def fastest_original(run: Run, target: str) -> OriginalOn | None:
    """The original in the runtime of the device in which it takes the fewest seconds; None where that is the
    target itself.
    """
    own = run.measured(run.baseline)[target].latency.seconds
    beside = run.originals_beside(target)
    best = min(beside, key=lambda one: one.measured.latency.seconds, default=None)
    return best if best is not None and best.measured.latency.seconds < own else None


def original_words(run: Run) -> str:
    """`the original`; where another runtime is faster for it `the original on cpu-openvino, where it is
    fastest`.
    """
    best = [fastest_original(run, name) for name in run.target_names]
    names = dict.fromkeys(one.target.name for one in best if one is not None)
    return f"the original on {', '.join(names)}, where it is fastest" if names else "the original"


def fastest_original_notes(run: Run) -> list[str]:
    """For each target beside which the original has a faster runtime, a sentence that says so."""
    notes = []
    for name in run.target_names:
        best = fastest_original(run, name)
        if best is not None:
            share = best.measured.latency.seconds / run.measured(run.baseline)[name].latency.seconds
            notes.append(
                f"On the device of {name} the original is fastest on {best.target.name} ({share:.2f} × its "
                "time): nothing is recommended that may be slower than that."
            )
    return notes


def ratio_range(latency: AnyLatency) -> Interval:
    """Where the latency's ratio to the original's lies; around a prediction by its median error, if known."""
    if isinstance(latency, Predicted):
        error = latency.error or 0.0
        return latency.ratio * (1 - error), latency.ratio * (1 + error)
    return latency.ratio_interval


def _quotient(latency: AnyLatency, other: OriginalOn) -> Interval:
    """The latency divided by the original's elsewhere."""
    there = other.measured.latency
    spread = math.hypot(_half_width(latency), _half_width(there), APART)
    middle = latency.seconds / there.seconds
    return middle * (1 - spread), middle * (1 + spread)


def _half_width(latency: AnyLatency) -> float:
    low, high = ratio_range(latency)
    return (high - low) / (high + low)
