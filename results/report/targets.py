"""Several targets on one page: the joint front as a table, and a chooser of the target that the rest of the
page shows.
"""

from collections.abc import Sequence
from html import escape

from ..formats import Point, Run
from ..joint_table import joint_cells, joint_columns, joint_points, missing_note, prediction_notes
from ..pick_joint import recommended_jointly
from ..views import has_several, targets_of


def all_targets(run: Run) -> str:
    """The section with the joint front and the chooser; empty for a run with one target."""
    if not has_several(run):
        return ""
    chosen, reason = recommended_jointly(run)
    first, *numbers = joint_columns(run)
    head = f"<th>{escape(first)}</th>" + "".join(
        f'<th class="number">{escape(name)}</th>' for name in numbers
    )
    body = "".join(_row(point, run, chosen=chosen) for point in joint_points(run))
    options = "".join(
        f'<option value="{index}">{escape(name)}</option>' for index, name in enumerate(targets_of(run))
    )
    notes = [note for note in (missing_note(run), *prediction_notes(run)) if note]
    note = "".join(f'<p class="lead">{escape(text)}</p>' for text in notes)
    return (
        '<section aria-labelledby="targets"><h2 id="targets">All targets</h2>'
        f'<p class="lead"><b>★</b> {escape(reason)}. One compression serves all targets; a point is on this front when no '
        "other is as good in its worst drop, size and latency ×. A click shows its layers.</p>"
        f'<div class="card scroll"><table class="joint"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'
        f'<div class="chooser"><label for="target">Everything below is on</label><select id="target">{options}</select></div>'
        "</section>"
    )


def per_target(run: Run, parts: Sequence[str]) -> str:
    """The same part of the page for each target, of which one is shown; the part itself for a run with one
    target.
    """
    if not has_several(run):
        return parts[0]
    return "".join(
        f'<div data-target="{index}"{" hidden" if index else ""}>{part}</div>'
        for index, part in enumerate(parts)
    )


def _row(point: Point, run: Run, *, chosen: Point) -> str:
    label, *numbers = joint_cells(point, run, star=point["trial"] == chosen["trial"])
    cells = "".join(f'<td class="number">{escape(text)}</td>' for text in numbers)
    return f'<tr data-trial="{point["trial"]}"><th scope="row">{escape(label)}</th>{cells}</tr>'
