"""What became of each layer, for the page's layer view: preformatted texts, shares for the bars, no HTML."""

from typing import Any

from ...profiles.units import format_size
from ..formats import Formats, Point, Run, count_text, grouped_warnings, label_of, recipe_lines
from ..table import shown_points


def layer_view(run: Run, chosen: Point) -> dict[str, Any]:
    """The points to choose from (the fastest first) with recipe, warnings and layers, and the one to show first."""
    points = shown_points(run)
    if all(point["trial"] != chosen["trial"] for point in points):
        points = [chosen, *points]
    return {"first": chosen["trial"], "points": [_view(point, run, chosen) for point in points]}


def _view(point: Point, run: Run, chosen: Point) -> dict[str, Any]:
    formats = Formats.of(run)
    numbers = f"{formats.quality(point['quality']['validation'])}, {formats.latency(point['latency']['latency_s'])}"
    star = "★ " if point["trial"] == chosen["trial"] else ""
    return {
        "trial": point["trial"],
        "label": f"{star}{label_of(point, run)} · {numbers}, {formats.size_of(point)}",
        "recipe": recipe_lines(point, run),
        "warnings": grouped_warnings(point),
        "layers": _rows(point, run),
    }


def _rows(point: Point, run: Run) -> list[dict[str, Any]]:
    original = {layer["name"]: layer for layer in run["baseline"]["layers"]}
    largest = {key: max((layer[key] for layer in original.values()), default=1) or 1 for key in ("macs", "bytes")}
    widest = max((layer["channels_out_original"] for layer in point["layers"]), default=1)
    return [
        {
            "name": layer["name"],
            "kind": layer["kind"],
            "channels": f"{layer['channels_out']}/{layer['channels_out_original']}",
            "inputs": f"{layer['channels_in']}/{layer['channels_in_original']} in",
            "width": layer["channels_out_original"] / widest,
            "kept": layer["channels_out"] / layer["channels_out_original"],
            "asked": layer["precision_asked"],
            "ran": layer["precision_executed"],
            "macs": count_text(layer["macs"]),
            "macs_share": layer["macs"] / largest["macs"],
            "macs_before": original.get(layer["name"], layer)["macs"] / largest["macs"],
            "bytes": format_size(layer["bytes"]),
            "bytes_share": layer["bytes"] / largest["bytes"],
            "bytes_before": original.get(layer["name"], layer)["bytes"] / largest["bytes"],
        }
        for layer in point["layers"]
    ]
