"""What the last `verify` measured: every point then and now, on each target."""

from ...text.printable import escape
from ..records.run import Run
from ..records.verification import TargetVerification
from ..words.verified import COLUMNS, away_lines, columns, summary


def verified_section(run: Run) -> str:
    """The sections of the page, one for each target; empty for a run that was never verified."""
    if run.verification is None:
        return ""
    away = "".join(f"<li>{escape(line)}</li>" for line in away_lines(run.verification))
    sections = "".join(_of_target(target) for target in run.verification.targets)
    return sections + (f"<ul class=plain>{away}</ul>" if away else "")


def _of_target(target: TargetVerification) -> str:
    first, *others = COLUMNS
    head = f"<th>{escape(first)}</th>" + "".join(f'<th class="number">{escape(name)}</th>' for name in others)
    body = "".join(_row(columns(point)) for point in target.points)
    lines = "".join(f"<li>{escape(line)}</li>" for line in summary(target))
    return (
        f"<section><h2>Verified on {escape(target.target)}</h2>"
        f'<p class="lead">Measured again at {escape(target.at)} by <code>autocompress verify</code>; '
        "~ was predicted.</p>"
        f'<div class="card scroll"><table class="verified"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div><ul class=plain>{lines}</ul></section>"
    )


def _row(cells: tuple[str, ...]) -> str:
    label, *others = cells
    return (
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(f'<td class="number">{escape(text)}</td>' for text in others)
        + "</tr>"
    )
