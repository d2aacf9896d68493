"""A comparison as HTML: the verdict, the picks of each policy, the fronts over each other, what else differs.

Fragments, for the page of `compare --html`, the report of a run (`report --against`) and notebooks.
"""

from collections.abc import Iterable

from ...text.printable import escape
from ..formats import Formats, ratio_of, ratio_text
from ..view import PointOn
from .change import latency_ratio
from .chart import front_chart
from .comparison import Comparison, Pair
from .picks import PickChange
from .side import Side
from .words import change_text, pair_lines, pick_text, quantities, title_of, trend_rows, verdict_line

_WORDS = {"better": "better", "worse": "worse", "same": "not worse", "unknown": "unknown"}


def comparison_html(comparison: Comparison) -> str:
    """Everything: the verdict first, then one part for each earlier run and target."""
    kind = "worse" if comparison.worse else "fine"
    trend = _trend(comparison) if len(comparison.sides) > 2 else ""
    parts = "".join(map(_pair, comparison.pairs))
    return f'<p class="verdict {kind}">{escape(verdict_line(comparison))}</p>{trend}{parts}'


def _pair(pair: Pair) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in pair_lines(pair))
    charts = "".join(
        f'<figure class="card"><figcaption><h3>Drop against {across}</h3></figcaption>'
        f"{front_chart(pair, across)}</figure>"
        for across in ("latency", "size")
    )
    legend = (
        '<ul class="legend"><li><i class="mark then"></i>then</li><li><i class="mark front"></i>now</li>'
        '<li><i class="mark selected"></i>the pick of a policy</li><li>lines: 95 % intervals</li></ul>'
    )
    return (
        f'<div class="pair"><h3>{escape(title_of(pair))}</h3>{_picks(pair)}<ul class="plain">{lines}</ul>'
        f'{legend}<div class="grid">{charts}</div>{_fronts(pair)}</div>'
    )


def _picks(pair: Pair) -> str:
    rows = "".join(_pick_row(pair, pick) for pick in pair.picks)
    return _table(("policy", "then", "now", *quantities(pair), "verdict"), rows, kind="compared")


def _pick_row(pair: Pair, pick: PickChange) -> str:
    cells = [
        _cell("then", pick_text(pair, pick.old, new=False)),
        _cell("now", pick_text(pair, pick.new, new=True)),
        *(_cell(name, change_text(pair, pick.changes.get(name)), number=True) for name in quantities(pair)),
    ]
    chip = f'<b class="{pick.verdict}">{_WORDS[pick.verdict]}</b> <small>{escape(pick.reason)}</small>'
    return (
        f'<tr><th scope="row">{escape(pick.policy.name)}</th>{"".join(cells)}'
        f'<td data-label="verdict">{chip}</td></tr>'
    )


def _fronts(pair: Pair) -> str:
    rows = [("then", pair.sides[0], point) for point in pair.old.front]
    rows += [("now", pair.sides[1], point) for point in pair.new.front]
    ordered = sorted(rows, key=lambda row: latency_ratio(row[2]))
    body = "".join(_front_row(when, side, point) for when, side, point in ordered)
    table = _table(("front", "point", "drop", "latency ×", "size ×"), body, kind="compared")
    return f"<details><summary>Both fronts as a table, the fastest first</summary>{table}</details>"


def _front_row(when: str, side: Side, point: PointOn) -> str:
    formats = Formats.of(point.view)
    cells = [
        _cell("point", side.name_of(point)),
        _cell("drop", formats.drop_of(point), number=True),
        _cell("latency ×", ratio_of(point), number=True),
        _cell("size ×", ratio_text(point.size_ratio), number=True),
    ]
    return f'<tr><th scope="row">{when}</th>{"".join(cells)}</tr>'


def _trend(comparison: Comparison) -> str:
    names = ("run", "target", "points", "hypervolume", *(policy.name for policy in comparison.policies))
    rows = [
        f'<tr><th scope="row">{escape(row[0])}</th>'
        f"{''.join(_cell(name, cell) for name, cell in zip(names[1:], row[1:], strict=True))}</tr>"
        for row in trend_rows(comparison)
    ]
    return f"<h3>In the order of time</h3>{_table(names, ''.join(rows), kind='compared')}"


def _table(names: Iterable[str], rows: str, *, kind: str) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return (
        f'<div class="card scroll" tabindex="0"><table class="{kind}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(label: str, text: str, *, number: bool = False) -> str:
    kind = ' class="number"' if number else ""
    return f'<td{kind} data-label="{escape(label)}">{escape(text)}</td>'
