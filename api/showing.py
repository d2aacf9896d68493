"""How a run and its points show themselves in a notebook: a table, and a small chart of the front as SVG."""

from collections.abc import Sequence

from ..results.choosing.recommended import recommended
from ..results.formats import Formats, label_of, ratio_of
from ..results.records.run import Run
from ..results.view import PointOn
from ..text.printable import escape

_WIDTH, _HEIGHT, _MARGIN = 460, 220, 40
_STYLE = 'font-size="11" fill="currentColor"'
_COLUMNS = ("", "quality", "drop", "latency", "× original", "size")


def run_html(run: Run, points: Sequence[PointOn]) -> str:
    """The front, the original model and the recommended point (★); `points` are all, the original first."""
    caption = f"{run.facts.task.name} on {', '.join(run.target_names)}: {len(points)} points, {run.status}"
    best, members = recommended(run).point.trial, {run.baseline.trial, *(point.trial for point in run.front)}
    shown = sorted((one for one in points if one.trial in members), key=lambda one: one.latency.ratio)
    rows = "".join(_row(point, star=point.trial == best) for point in shown)
    return f"<div><p>{escape(caption)}</p>{_chart(points, members, best)}{_table(rows)}</div>"


def point_html(point: PointOn) -> str:
    """The numbers of the point beside those of the original model."""
    original = point.view.baseline
    rows = _row(point, star=False) + (_row(original, star=False) if point.trial != original.trial else "")
    title = f"{label_of(point, point.view)} on {point.view.target.name}"
    return f"<div><p>{escape(title)}</p>{_table(rows)}</div>"


def _table(rows: str) -> str:
    heads = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _row(point: PointOn, *, star: bool) -> str:
    formats = Formats.of(point.view)
    cells = (
        f"{'★ ' if star else ''}{label_of(point, point.view)}",
        formats.quality(point.quality.validation),
        formats.drop_of(point),
        formats.seconds_of(point),
        ratio_of(point),
        formats.size_of(point),
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _chart(points: Sequence[PointOn], members: set[int], best: int) -> str:
    """The drop (up is better) over the latency ratio: the front filled, all other points as rings, ★ in
    red.
    """
    across = max(point.latency.ratio for point in points)
    drops = [point.drop for point in points]
    lowest, highest = min(drops), max(drops)
    span = (highest - lowest) or 1.0
    marks = []
    for point in sorted(points, key=lambda each: each.trial in members):
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * point.latency.ratio / across
        y = _MARGIN + (_HEIGHT - 2 * _MARGIN) * (point.drop - lowest) / span
        colour = "#c00" if point.trial == best else "#36c"
        fill = colour if point.trial in members else "none"
        title = f"<title>{escape(label_of(point, point.view))}</title>"
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}">{title}</circle>'
        )
    formats = Formats.of(points[0].view)
    texts = (
        (_MARGIN, _MARGIN - 12, "start", f"drop {formats.drop(lowest)}"),
        (_MARGIN, _HEIGHT - _MARGIN + 14, "start", f"drop {formats.drop(highest)}"),
        (_WIDTH - _MARGIN, _HEIGHT - 8, "end", f"latency, up to {across:.2f} × the original"),
    )
    words = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" {_STYLE}>{escape(text)}</text>'
        for x, y, anchor, text in texts
    )
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img">{"".join(marks)}{words}</svg>'
