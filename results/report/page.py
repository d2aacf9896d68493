"""Putting the page together."""

import json
import re
from html import escape
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from ...files import write_text
from ..formats import Point, Run, require_readable
from ..pick import recommended
from ..views import targets_of, views_of
from . import charts, overview, sections
from .layers import layer_view, legend
from .targets import all_targets, per_target
from .verified import verified_section
from .why import why_section

_SLOT = re.compile(r"<!--slot:(\w+)-->|/\*slot:(\w+)\*/")


def write_report(run: Run, path: Path) -> None:
    """Writes the report of the run (the dict of its `front.json`) to `path`, atomically, as one
    self-contained file.

    RunDirectoryError when the dict has another schema version than this one.
    """
    require_readable(run)
    write_text(path, render(run))


def render(run: Run) -> str:
    """The page as HTML."""
    from plotly.offline import get_plotlyjs

    views = views_of(run)
    chosen = [recommended(view) for view in views]
    drawn = [_drawn(view, point) for view, (point, _) in zip(views, chosen, strict=True)]
    slots = {
        "title": escape(f"{run['task']['name']} on {', '.join(targets_of(run))}"),
        "style": _resource("style.css"),
        "header": per_target(run, [overview.header(view) for view in views]),
        "targets": all_targets(run),
        "chosen": per_target(
            run, [overview.chosen_point(v, p, reason=why) for v, (p, why) in zip(views, chosen, strict=True)]
        ),
        "why": per_target(run, [why_section(view) for view in views]),
        "outside": per_target(run, [sections.outside_note(view) for view in views]),
        "front": per_target(
            run, [sections.front_table(view, chosen=p) for view, (p, _) in zip(views, chosen, strict=True)]
        ),
        "kernels": legend(run),
        "verified": verified_section(run),
        "failures": sections.failures(run),
        "space": sections.search_space(run),
        "environment": per_target(run, [sections.environment(view) for view in views]),
        "data": _json({**drawn[0], "others": drawn[1:]}),
        "plotly": get_plotlyjs(),
        "script": _resource("script.js"),
    }
    return _SLOT.sub(lambda match: slots[match[1] or match[2]], _resource("template.html"))


def _drawn(run: Run, chosen: Point) -> dict[str, Any]:
    """What the page's script draws for one target."""
    figures = {
        "latency": charts.plane(run, "latency", chosen=chosen),
        "size": charts.plane(run, "size", chosen=chosen),
        "space": charts.space(run, chosen=chosen),
        "history": charts.history(run),
    }
    return {"figures": figures, "layers": layer_view(run, chosen)}


def _json(value: Any) -> str:
    """JSON that can stand inside a script element: `<` never appears."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _resource(name: str) -> str:
    return (package_files(__package__) / name).read_text(encoding="utf-8")
