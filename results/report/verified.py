"""What the last `verify` found: every point then and now, on each target."""

from html import escape
from typing import Any

from ..formats import Run
from ..verify_words import COLUMNS, away_lines, columns, results_of, summary


def verified_section(run: Run) -> str:
    """The sections of the page, one for each target; empty for a run that was never verified."""
    found: dict[str, Any] | None = run.get("verified")
    if found is None:
        return ""
    away = "".join(f"<li>{escape(line)}</li>" for line in away_lines(found))
    return "".join(map(_of_target, results_of(found))) + (f"<ul class=plain>{away}</ul>" if away else "")


def _of_target(found: Any) -> str:
    first, *others = COLUMNS
    head = f"<th>{escape(first)}</th>" + "".join(f'<th class="number">{escape(name)}</th>' for name in others)
    body = "".join(_row(columns(row)) for row in found["points"])
    told = "".join(f"<li>{escape(line)}</li>" for line in summary(found))
    return (
        f"<section><h2>Verified on {escape(found['target']['name'])}</h2>"
        f'<p class="lead">Measured again at {escape(found["at"])} by <code>autocompress verify</code>; ~ was predicted.</p>'
        f'<div class="card scroll"><table class="verified"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"<ul class=plain>{told}</ul></section>"
    )


def _row(cells: tuple[str, ...]) -> str:
    label, *others = cells
    return (
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(f'<td class="number">{escape(text)}</td>' for text in others)
        + "</tr>"
    )
