"""The command `compare`: runs and bundles beside each other, the last against the earlier ones."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..text.printable import json_text, printable, printable_strings
from .console.completion import complete_run
from .support import REGRESSED, Json, errors, show

if TYPE_CHECKING:
    from ..results.compare import Comparison

_WIDTH = 160  # of the tables where stdout is no terminal
Sides = Annotated[
    list[Path],
    typer.Argument(
        autocompletion=complete_run,
        metavar="OLD NEW…",
        help="Run directories or bundles in the order of time; the last is judged against each earlier one.",
    ),
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="[NAME: ]POLICY",
        help='What picks a point, such as "fastest within 1pp" or "smallest within 0.5pp and 2ms"; '
        "repeatable. If not given: fastest within 1pp and smallest within 0.5pp.",
    ),
]
Tolerances = Annotated[
    list[str] | None,
    typer.Option(
        "--tolerance",
        metavar="[WHAT=]AMOUNT",
        help="What is no loss even where it is certain: latency=5%, size=1%, energy=5%, "
        "drop=0.3% are the defaults; 2% is for all but the drop, 0.1pp for the drop. Repeatable.",
    ),
]


def compare(
    sides: Sides,
    *,
    policy: Policies = None,
    tolerance: Tolerances = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with both fronts to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare runs, or a run with a bundle: fronts, hypervolume, and what each policy picks then and now.

    Latencies and sizes are ratios to each one's own original. Where the environment, the original, the data
    or the metric differs, that is named, and nothing else than ratios is compared. The exit code is 4 when
    the pick of a policy got worse: its aim or its drop, by more than the intervals of both and the tolerance.

    Examples:

        autocompress compare runs/monday runs/tuesday

        autocompress compare deployed/digits runs/tonight --policy "phone: smallest within 1pp and 2ms"

        autocompress compare runs/mon runs/tue runs/wed --tolerance 2% --html week.html
    """
    with errors():
        from ..deploy.sides import side_at
        from ..results.choosing.policy import Policy
        from ..results.compare import Tolerance
        from ..results.compare import compare as compare_sides

        policies = [Policy.parse(text) for text in policy or ()]
        room = Tolerance.parse(tolerance or ())
        if html is not None and html.is_dir():
            raise InputError(
                f"--html {html} is a folder: give the name of a file, such as {html}/compare.html."
            )
        compared = compare_sides([side_at(path) for path in sides], policies=policies, tolerance=room)
        if as_json:
            print(json_text(printable_strings(compared.to_json()), indent=2))
        else:
            _print(compared)
        if html is not None:
            from ..results.report.compared import write_comparison

            write_comparison(compared, html)
            if not as_json:
                show(html)
        if compared.worse:
            raise typer.Exit(REGRESSED)


def _print(compared: "Comparison") -> None:
    """The verdict first, then for each earlier run the picks, what else differs, and the fronts."""
    from rich.console import Console

    from ..results.compare.table import fronts_table, picks_table, trend_table
    from ..results.compare.words import pair_lines, title_of, verdict_line

    width = None if sys.stdout.isatty() else _WIDTH
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    show(verdict_line(compared))
    if len(compared.sides) > 2:
        console.print()
        console.print(trend_table(compared))
    for pair in compared.pairs:
        console.print(f"\n{printable(title_of(pair))}", soft_wrap=True)
        console.print(picks_table(pair))
        show(*pair_lines(pair))
        if len(compared.sides) == 2:
            console.print()
            console.print(fronts_table(pair))
