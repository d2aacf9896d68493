"""Several targets on one page: the joint front as a table (of the runtimes of a device, their front), and a
chooser of the target that the rest of the page shows.
"""

from collections.abc import Sequence

from ...text.printable import escape
from ..choosing.recommended import recommended
from ..records.point import Point
from ..records.run import Run
from ..table import Column, columns, missing_note, notes_below, same_place, shown_points
from .advice import Command, advice


def all_targets(run: Run, command: Command) -> str:
    """The section with the joint front and the chooser. Of a run with one target only what waits for others
    that are away.
    """
    if len(run.target_names) == 1:
        note = missing_note(run)
        return f'<section><p class="lead">{escape(note)}</p></section>' if note else ""
    best, shown = recommended(run), columns(run)
    head = f"<th>{_heading(shown[0])}</th>" + "".join(
        f'<th class="number">{_heading(column)}</th>' for column in shown[1:]
    )
    body = "".join(_row(point, shown, star=same_place(run, point, best.point)) for point in shown_points(run))
    options = "".join(
        f'<option value="{index}">{escape(name)}</option>' for index, name in enumerate(run.target_names)
    )
    title, meaning = _words(run)
    note = "".join(f'<p class="lead">{escape(text)}</p>' for text in notes_below(run))
    return (
        f'<section aria-labelledby="targets"><h2 id="targets">{title}</h2>'
        f'<p class="lead"><b>★</b> {escape(best.reason)}. {meaning} A click shows its layers.</p>'
        f'<div class="card scroll"><table class="joint"><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        f"</table></div>{note}</section>{advice(run, command)}<section>"
        '<div class="chooser"><label for="target">Everything below is on</label>'
        f'<select id="target">{options}</select></div></section>'
    )


def _words(run: Run) -> tuple[str, str]:
    """The title of the front, and what is on it."""
    if run.device is not None:
        return "All runtimes", (
            "A point is a candidate in one runtime of the device, and × is relative to the original in the "
            "runtime where that is fastest."
        )
    return "All targets", (
        "One compression serves all targets; a point is on this front when no other is as good in its worst "
        "drop, size and latency ×."
    )


def per_target(parts: Sequence[str]) -> str:
    """The same part of the page for each target, of which one is shown; the part itself for a run with one
    target.
    """
    if len(parts) == 1:
        return parts[0]
    return "".join(
        f'<div data-target="{index}"{" hidden" if index else ""}>{part}</div>'
        for index, part in enumerate(parts)
    )


def _heading(column: Column) -> str:
    """The heading as HTML, its lines side by side."""
    return escape(column.heading.replace("\n", " "))


def _row(point: Point, shown: Sequence[Column], *, star: bool) -> str:
    label, *numbers = (column.cell(point) for column in shown)
    cells = "".join(f'<td class="number">{escape(text)}</td>' for text in numbers)
    name = f"{'★' if star else ' '} {label}"
    return f'<tr data-trial="{point.trial}"><th scope="row">{escape(name)}</th>{cells}</tr>'
