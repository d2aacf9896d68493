"""A comparison as tables for a terminal: the picks of each policy, and the fronts over each other."""

from typing import TYPE_CHECKING

from ...text.printable import printable
from ..formats import Formats, ratio_of, ratio_text
from ..view import PointOn
from .change import latency_ratio
from .comparison import Comparison, Pair
from .side import Side
from .words import change_text, pick_text, quantities, trend_rows, verdict_text

if TYPE_CHECKING:
    from rich.table import Table


def picks_table(pair: Pair) -> "Table":
    """For each policy both picks, what changed from one to the other, and the verdict."""
    shown = quantities(pair)
    table = _table("policy", "", "pick", *shown, "verdict", right=shown)
    for pick in pair.picks:
        changed = [change_text(pair, pick.changes.get(name)) for name in shown]
        _add(table, pick.policy.name, "then", pick_text(pair, pick.old, new=False), *("" for _ in shown), "")
        _add(table, "", "now", pick_text(pair, pick.new, new=True), *changed, verdict_text(pick))
    return table


def fronts_table(pair: Pair) -> "Table":
    """Both fronts, the fastest first, with what each point is against its own original."""
    table = _table("front", "point", "drop", "latency ×", "size ×", right=("drop", "latency ×", "size ×"))
    rows = [("then", pair.sides[0], point) for point in pair.old.front]
    rows += [("now", pair.sides[1], point) for point in pair.new.front]
    for when, side, point in sorted(rows, key=lambda row: latency_ratio(row[2])):
        _add(table, when, *_front_cells(side, point))
    return table


def trend_table(comparison: Comparison) -> "Table":
    """Every run in the order of time: points, hypervolume, and the pick of each policy."""
    names = [policy.name for policy in comparison.policies]
    table = _table("run", "target", "points", "hypervolume", *names, right=("points", "hypervolume"))
    for row in trend_rows(comparison):
        _add(table, *row)
    return table


def _front_cells(side: Side, point: PointOn) -> tuple[str, str, str, str]:
    formats = Formats.of(point.view)
    return side.name_of(point), formats.drop_of(point), ratio_of(point), ratio_text(point.size_ratio)


def _table(*headings: str, right: tuple[str, ...]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(
            Text(printable(heading)),
            justify="right" if heading in right else "left",
            no_wrap=heading in right or heading in ("", "front", "point"),
        )
    return table


def _add(table: "Table", *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells))
