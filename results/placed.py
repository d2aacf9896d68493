"""A candidate on one of the runtimes of a device: its numbers there, and its latency relative to the fastest
original's, in words and for programs.
"""

from typing import Any

from .formats import label_of, mark_of, ratio_text, relative_spread
from .records.latency import Predicted
from .records.originals import Scale
from .records.point import Point
from .records.run import Run
from .view import PointOn, RunOn

REFERENCE_RUNTIME = "onnxruntime"  # what published ratios are mostly relative to


def placed(run: Run, point: Point) -> PointOn:
    """The point on its only target; of several alternatives, where it is fastest."""
    return RunOn.of(run, place_of(run, point)).on(point)


def place_of(run: Run, point: Point) -> str:
    """The name of that target."""
    return next(iter(run.measured(point)))


def placed_label(run: Run, point: Point) -> str:
    """`trial 12`; of alternatives `trial 12 on cpu-litert`."""
    return label_of(point, run) + ("" if run.device is None else f" on {place_of(run, point)}")


def common_ratio(run: Run, point: Point) -> str:
    """`0.62× ±1.1 %`: the latency relative to the original's in the runtime where that is fastest; 1 of
    itself, without a spread.
    """
    (name, measured), *_ = run.measured(point).items()
    scale = run.scale(name)
    if point.trial == run.baseline.trial:
        return scale_text(scale)
    ratio = mark_of(measured.latency) + ratio_text(measured.latency.ratio * scale.ratio)
    predicted = isinstance(measured.latency, Predicted)
    return ratio if predicted else f"{ratio} {relative_spread(run.ratio_range(name, measured))}"


def scale_text(scale: Scale) -> str:
    """`1.31× ±0.9 %`; 1 without a spread is the baseline's."""
    width = scale.half_width
    return f"{ratio_text(scale.ratio)} {relative_spread((1 - width, 1 + width)) if width else ''}".rstrip()


def reference_target(run: Run) -> str | None:
    """The target with ONNX Runtime, None where it did not take part."""
    names = [target.name for target in run.targets if target.runtime == REFERENCE_RUNTIME]
    return names[0] if names else None


def originals_note(run: Run) -> str:
    """`The original: 1 on cpu-litert, 1.31× ±0.9 % on cpu (timed in turns). × 0.76 is the time relative to
    ONNX Runtime's float32.`; empty of a run whose targets are no alternatives.
    """
    if run.device is None:
        return ""
    baseline, parts = run.device.baseline, list[str]()
    for name in run.target_names:
        parts.append(f"{'1' if name == baseline else scale_text(run.scale(name))} on {name}")
    how = "timed in turns" if set(run.target_names) <= run.in_turns.keys() else "not timed in turns"
    note = f"The original, float32: {', '.join(parts)} ({how})."
    if (other := reference_target(run)) not in (None, baseline):
        to_reference = run.device.scale(baseline, to=other).ratio if other else 1.0
        note += f" Multiply by {to_reference:.2f} for ratios to the original in ONNX Runtime."
    return note


def left_out_notes(run: Run) -> list[str]:
    """Why runtimes that were asked for did not run the original: one sentence each."""
    return [f"Left out: {reason}" for reason in run.baseline.left_out.values()]


def placement_json(run: Run, point: Point) -> dict[str, Any]:
    """A placement as a flat JSON value: its numbers in its runtime, and its latency relative to the fastest
    original's (`ratio`, `ratio_interval`) and to the original's in ONNX Runtime (`ratio_to_onnxruntime`, null
    where that took no part).
    """
    there = placed(run, point)
    name = there.view.target.name
    return {
        "target": name,
        "runtime": there.view.target.runtime,
        "ratio": run.vector(point)[2],
        "ratio_interval": list(run.ratio_range(name, there.measured)),
        "ratio_to_onnxruntime": ratio_to_onnxruntime(run, point),
        "size_ratio": run.vector(point)[1],
        **there.to_json(),
        "left_out": dict(run.point(point.trial).left_out),
    }


def ratio_to_onnxruntime(run: Run, point: Point) -> float | None:
    """The latency relative to the original's in ONNX Runtime; None where that took no part."""
    other = reference_target(run)
    if run.device is None or other is None:
        return None
    (name, measured), *_ = run.measured(point).items()
    return measured.latency.ratio * run.device.scale(name, to=other).ratio
