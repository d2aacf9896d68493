"""Putting the page together."""

import json
import re
from html import escape
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from ...files import write_text
from ..formats import Run, require_readable
from ..pick import recommended
from . import charts, overview, sections
from .layers import layer_view
from .why import why_section

_SLOT = re.compile(r"<!--slot:(\w+)-->|/\*slot:(\w+)\*/")


def write_report(run: Run, path: Path) -> None:
    """Writes the report of the run (the dict of its `front.json`) to `path`, atomically, as one self-contained file.

    RunDirectoryError when the dict has another schema version than this one.
    """
    require_readable(run)
    write_text(path, render(run))


def render(run: Run) -> str:
    """The page as HTML."""
    from plotly.offline import get_plotlyjs

    chosen, reason = recommended(run)
    figures = {
        "latency": charts.plane(run, "latency", chosen=chosen),
        "size": charts.plane(run, "size", chosen=chosen),
        "space": charts.space(run, chosen=chosen),
        "history": charts.history(run),
    }
    slots = {
        "title": escape(f"{run['task']['name']} on {run['target']['name']}"),
        "style": _resource("style.css"),
        "header": overview.header(run),
        "chosen": overview.chosen_point(run, chosen, reason=reason),
        "why": why_section(run),
        "outside": sections.outside_note(run),
        "front": sections.front_table(run, chosen=chosen),
        "failures": sections.failures(run),
        "space": sections.search_space(run),
        "environment": sections.environment(run),
        "data": _json({"figures": figures, "layers": layer_view(run, chosen)}),
        "plotly": get_plotlyjs(),
        "script": _resource("script.js"),
    }
    return _SLOT.sub(lambda match: slots[match[1] or match[2]], _resource("template.html"))


def _json(value: Any) -> str:
    """JSON that can stand inside a script element: `<` never appears."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _resource(name: str) -> str:
    return (package_files(__package__) / name).read_text(encoding="utf-8")
