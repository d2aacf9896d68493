"""Putting the page together."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...files import write_text
from ...text.printable import escape, printable_strings
from ..choosing.recommended import recommended
from ..choosing.words import pick_command
from ..compare import Comparison
from ..records.run import Run
from ..view import PointOn, RunOn, views_of
from . import charts, overview, sections
from .advice import Command, advice
from .compared import comparison_section
from .layers import layer_view, legend
from .resources import filled, resource
from .targets import all_targets, per_target
from .verified import verified_section
from .why import expert_cards, why_section


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What the page shows of a target: its view of the run, the chosen point, and why that one."""

    view: RunOn
    chosen: PointOn
    reason: str
    command: Command


def write_report(
    run: Run, path: Path, *, directory: Path | None = None, against: Comparison | None = None
) -> None:
    """Writes the report of the run to `path`, atomically, as one self-contained file.

    `directory` is the run's, as the commands on the page name it; that of the file if not given. `against` is
    a comparison of earlier runs with this one, which the page then shows as well.
    """
    write_text(path, render(run, str(directory or path.parent), against=against))


def render(run: Run, directory: str = "RUN", *, against: Comparison | None = None) -> str:
    """The page as HTML; its commands name the run's `directory`."""
    from plotly.offline import get_plotlyjs

    several = len(run.target_names) > 1
    shown = [_shown(view, directory, of_several=several) for view in views_of(run)]
    drawn = [_drawn(each) for each in shown]
    slots = {
        "title": escape(f"{run.facts.task.name} on {', '.join(run.target_names)}"),
        "style": resource("style.css"),
        "header": per_target([overview.header(each.view) for each in shown]),
        "targets": all_targets(run, partial(pick_command, run, directory=directory)),
        "chosen": per_target(
            [overview.chosen_point(each.view, each.chosen, reason=each.reason) for each in shown]
        ),
        "compared": comparison_section(against),
        "advice": per_target([advice(each.view.run, each.command) for each in shown]),
        "why": per_target([why_section(each.view) for each in shown]),
        "experts": per_target([expert_cards(each.view) for each in shown]),
        "outside": per_target([sections.outside_note(each.view) for each in shown]),
        "front": per_target([sections.front_table(each.view, chosen=each.chosen) for each in shown]),
        "kernels": legend(run),
        "verified": verified_section(run),
        "failures": sections.failures(run),
        "space": sections.search_space(run),
        "environment": per_target([sections.environment(each.view) for each in shown]),
        "data": _json({**drawn[0], "others": drawn[1:]}),
        "plotly": get_plotlyjs(),
        "script": resource("script.js"),
    }
    return filled(resource("template.html"), slots)


def _shown(view: RunOn, directory: str, *, of_several: bool) -> _Shown:
    best = recommended(view.run)
    command = partial(pick_command, view.run, directory=directory, of_several=of_several)
    return _Shown(view=view, chosen=view.on(best.point), reason=best.reason, command=command)


def _drawn(shown: _Shown) -> dict[str, Any]:
    """What the page's script draws for one target."""
    view, chosen = shown.view, shown.chosen
    figures = {
        "latency": charts.plane(view, "latency", chosen=chosen),
        "size": charts.plane(view, "size", chosen=chosen),
        "space": charts.space(view, chosen=chosen),
        "history": charts.history(view),
    }
    return {"figures": figures, "layers": layer_view(view, chosen, shown.command)}


def _json(value: Any) -> str:
    """JSON that can stand inside a script element: `<` never appears, and no text acts where it is shown."""
    text = json.dumps(printable_strings(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")
