"""Whether a point is shown to be no slower than the original in its best float32 runtime on the device.

The ratio to the original on the same target was measured in turns. Where a run has other runtimes of the same
device, the original there counts as well. A search over the runtimes of a device has timed them in turns
(`OriginalOn.beside`). Seconds of two times are compared otherwise, so that their quotient is uncertain by
`APART` besides both intervals.
"""

import math

from ..records.latency import AnyLatency, half_width_of, ratio_range
from ..records.originals import APART, OriginalOn
from ..records.point import Point
from ..records.reading import Interval
from ..records.run import Run


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
    best = min(run.originals_beside(target), key=lambda one: _share(run, one, target), default=None)
    return best if best is not None and _share(run, best, target) < 1.0 else None


def _share(run: Run, other: OriginalOn, target: str) -> float:
    """The original's time elsewhere divided by that on the target."""
    if other.beside is not None:
        return other.beside.ratio
    return other.measured.latency.seconds / run.baseline.measured[target].latency.seconds


def original_words(run: Run) -> str:
    """`the original`; where another runtime is faster for it `the original on cpu-openvino, where it is
    fastest`.
    """
    if run.device is not None:
        return f"the original on {run.device.baseline}, where it is fastest"
    best = [fastest_original(run, name) for name in run.target_names]
    names = dict.fromkeys(one.target.name for one in best if one is not None)
    return f"the original on {', '.join(names)}, where it is fastest" if names else "the original"


def fastest_original_notes(run: Run) -> list[str]:
    """For each target beside which the original has a faster runtime, a sentence that says so; none of
    alternatives, which all count from the fastest.
    """
    notes: list[str] = []
    if run.device is not None:
        return notes
    for name in run.target_names:
        best = fastest_original(run, name)
        if best is not None:
            share = _share(run, best, name)
            notes.append(
                f"On the device of {name} the original is fastest on {best.target.name} ({share:.2f} × its "
                "time): nothing is recommended that may be slower than that."
            )
    return notes


def _quotient(latency: AnyLatency, other: OriginalOn) -> Interval:
    """The latency divided by the original's elsewhere."""
    there, widths = other.measured.latency, [half_width_of(ratio_range(latency))]
    if other.beside is not None:
        middle = latency.ratio / other.beside.ratio
        widths.append(other.beside.half_width)
    else:
        middle = latency.seconds / there.seconds
        widths += [half_width_of(ratio_range(there)), APART]
    spread = math.hypot(*widths)
    return middle * (1 - spread), middle * (1 + spread)
