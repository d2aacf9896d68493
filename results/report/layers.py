"""What became of each layer, for the page's layer view: preformatted texts, shares for the bars, no HTML."""

from typing import Any

from ...profiles.units import format_size
from ..formats import MISSING, Formats, Point, Run, count_text, grouped_warnings, label_of, recipe_lines
from ..table import shown_points

TIMES_NOTE = (
    "Times are those of ONNX Runtime's profiler, which slows every kernel down: they show where the time goes, and before "
    "and after compare, but their sum is more than the latency. The thin dark line is the original's time."
)


def layer_view(run: Run, chosen: Point) -> dict[str, Any]:
    """The points to choose from (the fastest first) with recipe, warnings and layers, and the one to show
    first.
    """
    points = shown_points(run)
    if all(point["trial"] != chosen["trial"] for point in points):
        points = [chosen, *points]
    return {"first": chosen["trial"], "points": [_view(point, run, chosen) for point in points]}


def _view(point: Point, run: Run, chosen: Point) -> dict[str, Any]:
    formats = Formats.of(run)
    numbers = f"{formats.quality(point['quality']['validation'])}, {formats.seconds_of(point)}"
    star = "★ " if point["trial"] == chosen["trial"] else ""
    return {
        "trial": point["trial"],
        "label": f"{star}{label_of(point, run)} · {numbers}, {formats.size_of(point)}",
        "recipe": recipe_lines(point, run),
        "warnings": grouped_warnings(point),
        "layers": _rows(point, run),
        "other": _other(point, run),
        "note": TIMES_NOTE if point["other_time_s"] is not None else "",
    }


def _rows(point: Point, run: Run) -> list[dict[str, Any]]:
    original = {layer["name"]: layer for layer in run["baseline"]["layers"]}
    largest = {
        key: max((layer[key] for layer in original.values()), default=1) or 1 for key in ("macs", "bytes")
    }
    widest = max((layer["channels_out_original"] for layer in point["layers"]), default=1)
    longest = _longest(point, run)
    return [
        {
            "name": layer["name"],
            "kind": layer["kind"],
            "removed": not layer["channels_out"],
            "channels": f"{layer['channels_out']}/{layer['channels_out_original']}",
            "inputs": f"{layer['channels_in']}/{layer['channels_in_original']} in",
            "width": layer["channels_out_original"] / widest,
            "kept": layer["channels_out"] / layer["channels_out_original"],
            "chip": _chip(layer),
            "warned": any(warning.endswith(f": {layer['name']}") for warning in point["warnings"]),
            "ran": _kernel(layer),
            "checked": layer["precision_executed"] is not None,
            "bits_share": layer["bits"] / 32 if layer["channels_out"] else 0.0,
            "macs": count_text(layer["macs"]),
            "macs_share": layer["macs"] / largest["macs"],
            "macs_before": original.get(layer["name"], layer)["macs"] / largest["macs"],
            "bytes": format_size(layer["bytes"]),
            "bytes_share": layer["bytes"] / largest["bytes"],
            "bytes_before": original.get(layer["name"], layer)["bytes"] / largest["bytes"],
            **_time(layer["time_s"], layer["time_original_s"], longest),
        }
        for layer in point["layers"]
    ]


def legend(run: Run) -> str:
    """The colors of layers: int8 and float32, and what else ran or was asked for in this run."""
    points = [
        point for point in (*run["front"], *run["dominated"], run["baseline"], run["uniform_int8"]) if point
    ]
    ran = {_kernel(layer) for point in points for layer in point["layers"]}
    shown = [name for name in ("int8", "fp8", "float16", "float32") if name in ran | {"int8", "float32"}]
    return "\n".join(f'<li><i class="swatch {name}"></i>ran in {name}</li>' for name in shown)


def _kernel(layer: dict[str, Any]) -> str:
    """The precision to color a layer by: what its kernel computes in, or by what was asked where the kernel
    was not seen.
    """
    ran = layer["precision_executed"] or layer["precision_asked"]
    return {
        "float32": "float32",
        "block4": "float32",
        "float16": "float16",
        "float16_24": "float16",
        "fp8": "fp8",
    }.get(ran, "int8")


def _chip(layer: dict[str, Any]) -> str:
    """What the layer asked for and what ran: `int8`, `4 bits, ran int8`, `asked int8, ran float32`,
    `removed`.
    """
    asked, ran = layer["precision_asked"], layer["precision_executed"]
    if not layer["channels_out"]:
        return "removed"
    if ran in (None, asked):
        return str(asked)
    return f"{layer['bits']} bits, ran {ran}" if layer["bits"] < 8 else f"asked {asked}, ran {ran}"


def _other(point: Point, run: Run) -> dict[str, Any] | None:
    """The time outside the layers; None where the point was not profiled."""
    time_s = point["other_time_s"]
    return None if time_s is None else _time(time_s, run["baseline"]["other_time_s"], _longest(point, run))


def _longest(point: Point, run: Run) -> float:
    """The longest time of a layer of the point or the original, which is as long as a bar gets."""
    times = [layer["time_s"] for one in (run["baseline"], point) for layer in one["layers"]]
    return max((time for time in times if time), default=1.0)


def _time(time_s: float | None, original_s: float | None, longest: float) -> dict[str, Any]:
    """A time in words with that of the original, and both as shares of the longest bar."""
    known = [MISSING if value is None else f"{1e6 * value:.0f}" for value in (time_s, original_s)]
    return {
        "time": f"{known[0]} µs" if time_s is not None else MISSING,
        "time_title": f"{known[1]} µs in the original" if original_s is not None else "",
        "time_share": min(1.0, (time_s or 0.0) / longest),
        "time_before": min(1.0, (original_s or 0.0) / longest),
    }
