"""What became of each layer, for the page's layer view: preformatted texts, shares for the bars, no HTML."""

from typing import Any

from ...compress.recipe import STORED, executes_as
from ...profiles.units import format_size
from ..formats import MISSING, Formats, count_text, grouped_warnings, label_of, recipe_lines
from ..records.point import LayerRow
from ..records.run import Run
from ..table import shown_points
from ..view import PointOn, RunOn
from .advice import Command

TIMES_NOTE = (
    "The runtime's profiler says how an inference is shared among layers. It slows every kernel down, short "
    "ones the most, so each model's times are scaled: together they are its measured latency. Those of short "
    "layers still have some of the profiler's cost in them. The thin dark line is the original's time."
)


def layer_view(run: RunOn, chosen: PointOn, command: Command) -> dict[str, Any]:
    """The points to choose from (the fastest first) with recipe, warnings, layers and the command that takes
    each, and the one to show first.
    """
    points = [run.on(point) for point in shown_points(run.run)]
    if all(point.trial != chosen.trial for point in points):
        points = [chosen, *points]
    return {
        "first": chosen.trial,
        "points": [_view(point, run, chosen) | {"command": command(point.point)} for point in points],
    }


def _view(point: PointOn, run: RunOn, chosen: PointOn) -> dict[str, Any]:
    formats = Formats.of(run)
    numbers = f"{formats.quality(point.quality.validation)}, {formats.seconds_of(point)}"
    star = "★ " if point.trial == chosen.trial else ""
    return {
        "trial": point.trial,
        "label": f"{star}{label_of(point, run)} · {numbers}, {formats.size_of(point)}",
        "recipe": recipe_lines(point),
        "warnings": grouped_warnings(point),
        "layers": _rows(point, run),
        "other": _other(point),
        "note": TIMES_NOTE if point.measured.other_time_s is not None else "",
    }


def _rows(point: PointOn, run: RunOn) -> list[dict[str, Any]]:
    original = {layer.name: layer for layer in run.baseline.layers}
    most_macs = max((layer.macs for layer in original.values()), default=1) or 1
    most_bytes = max((layer.bytes for layer in original.values()), default=1) or 1
    widest = max((layer.channels_out_original for layer in point.layers), default=1)
    longest, warnings = _longest(point), point.warnings
    scale, before = scale_of(point), scale_of(run.baseline)
    return [
        {
            "name": layer.name,
            "kind": layer.kind,
            "removed": not layer.channels_out,
            "channels": f"{layer.channels_out}/{layer.channels_out_original}",
            "inputs": f"{layer.channels_in}/{layer.channels_in_original} in",
            "width": layer.channels_out_original / widest,
            "kept": layer.channels_out / layer.channels_out_original,
            "chip": _chip(layer),
            "warned": any(warning.endswith(f": {layer.name}") for warning in warnings),
            "ran": _kernel(layer),
            "checked": layer.precision_executed is not None,
            "bits_share": layer.bits / 32 if layer.channels_out else 0.0,
            "macs": count_text(layer.macs),
            "macs_share": layer.macs / most_macs,
            "macs_before": original.get(layer.name, layer).macs / most_macs,
            "bytes": format_size(layer.bytes),
            "bytes_share": layer.bytes / most_bytes,
            "bytes_before": original.get(layer.name, layer).bytes / most_bytes,
            **_time(_times(scale, layer.time_s), _times(before, layer.time_original_s), longest),
        }
        for layer in point.layers
    ]


def legend(run: Run) -> str:
    """The colors of layers: int8 and float32, and what else ran or was asked for in this run."""
    measured = [each for point in run.points for each in point.measured.values()]
    ran = {_kernel(layer) for each in measured for layer in each.layers}
    shown = [name for name in ("int8", "fp8", "float16", "float32") if name in ran | {"int8", "float32"}]
    return "\n".join(f'<li><i class="swatch {name}"></i>ran in {name}</li>' for name in shown)


def _kernel(layer: LayerRow) -> str:
    """The precision to color a layer by: what its kernel computes in, or by what was asked where the kernel
    was not seen.
    """
    ran = layer.precision_executed or layer.precision_asked
    colors = {name: name for name in ("float32", "float16", "fp8")} | {"block4": "float32"}
    return colors.get(executes_as(ran), "int8")


def _chip(layer: LayerRow) -> str:
    """What the layer asked for and what ran: `int8`, `4 bits, ran int8`, `asked int8, ran float32`,
    `removed`.
    """
    asked, ran = layer.precision_asked, layer.precision_executed
    if not layer.channels_out:
        return "removed"
    if ran in (None, asked):
        return str(asked)
    stored = not layer.differs and (layer.bits < 8 or asked in STORED)
    return f"{layer.bits} bits, ran {ran}" if stored else f"asked {asked}, ran {ran}"


def _other(point: PointOn) -> dict[str, Any] | None:
    """The time outside the layers; None where the point was not profiled."""
    original = point.view.baseline
    time_s = _times(scale_of(point), point.measured.other_time_s)
    original_s = _times(scale_of(original), original.measured.other_time_s)
    return None if time_s is None else _time(time_s, original_s, _longest(point))


def scale_of(point: PointOn) -> float:
    """The measured latency relative to the sum of the profiler's times; 1 where one of them is not known."""
    other_s = point.measured.other_time_s
    profiled_s = sum(layer.time_s or 0.0 for layer in point.layers) + (other_s or 0.0)
    known = other_s is not None and profiled_s > 0 and not point.predicted
    return point.latency.seconds / profiled_s if known else 1.0


def _times(scale: float, seconds: float | None) -> float | None:
    return None if seconds is None else scale * seconds


def _longest(point: PointOn) -> float:
    """The longest time of a layer of the point or the original, which is as long as a bar gets."""
    times = [
        scale_of(one) * layer.time_s
        for one in (point.view.baseline, point)
        for layer in one.layers
        if layer.time_s
    ]
    return max(times, default=1.0)


def _time(time_s: float | None, original_s: float | None, longest: float) -> dict[str, Any]:
    """A time in words with that of the original, and both as shares of the longest bar."""
    texts = [MISSING if value is None else _microseconds(value) for value in (time_s, original_s)]
    return {
        "time": f"{texts[0]} µs" if time_s is not None else MISSING,
        "time_title": f"{texts[1]} µs in the original" if original_s is not None else "",
        "time_share": min(1.0, (time_s or 0.0) / longest),
        "time_before": min(1.0, (original_s or 0.0) / longest),
    }


def _microseconds(seconds: float) -> str:
    """`150`; two digits below ten."""
    value = 1e6 * seconds
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"
