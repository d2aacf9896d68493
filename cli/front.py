"""The commands `front` and `report`: what a run found, as tables, JSON, CSV and a page."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..text.printable import printable
from .console.completion import complete_run
from .console.log import say
from .support import Json, RunPath, TargetOfRun, errors, part_of, show

if TYPE_CHECKING:
    from ..results.compare import Comparison
    from ..results.records.run import Run


def front(
    run: RunPath,
    *,
    target: TargetOfRun = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV to stdout.")] = False,
) -> None:
    """Show the front of a run as a table with the spread of every number.

    With several targets: first the front of all targets together, then the front of each. Of a search over
    --runtimes: one front, each point with its runtime; --target shows that of one.
    """
    with errors():
        from ..results.choosing.words import next_command
        from ..results.run_directory import read_run

        if as_json and as_csv:
            raise InputError("--json and --csv exclude each other: give one of the two.")
        whole = read_run(run)
        part = part_of(whole, target)
        print_front(part, as_json=as_json, as_csv=as_csv)
        command = next_command(part, str(run), of_several=part is not whole)
        if command and not (as_json or as_csv):
            show(f"Next:   {command}")


def report(
    run: RunPath,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The HTML file; RUN/report.html if not given.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            autocompletion=complete_run,
            metavar="RUN|BUNDLE",
            help="Also show the run beside an earlier one, as `compare` does; repeatable, the oldest first.",
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(metavar="FILE.log", help="Also write an Optuna study for people, for optuna-dashboard."),
    ] = None,
) -> None:
    """Write the report of a run: one HTML file that needs no network."""
    with errors():
        from ..results.report import write_report
        from ..results.run_directory import read_run

        path = out or run / "report.html"
        if path.is_dir():
            raise InputError(
                f"--out {path} is a folder: give the name of a file, such as {path}/report.html."
            )
        content = read_run(run)
        write_report(content, path, directory=run, against=_against(run, content, against or []))
        show(path)
        if study is not None:
            from ..results.report.study import write_study

            write_study(content, study)
            show(study)
            say(f"Next:   optuna-dashboard {shlex.quote(str(study))}  (pip install optuna-dashboard)")


def _against(path: Path, run: "Run", earlier: Sequence[Path]) -> "Comparison | None":
    """The run beside the earlier ones; None without any."""
    from ..deploy.sides import side_at, side_of_run
    from ..results.compare import compare

    if not earlier:
        return None
    return compare([*map(side_at, earlier), side_of_run(path, run)])


def print_front(run: "Run", *, as_json: bool = False, as_csv: bool = False) -> None:
    """Prints the front to stdout: as JSON, as CSV, or as tables with the reasons below."""
    from ..results.table_files import front_csv, front_json

    if as_json:
        print(front_json(run))
    elif as_csv:
        print(front_csv(run), end="")
    else:
        _print_tables(run)


def _print_tables(run: "Run") -> None:
    """With several targets: the front of all, then that of each; what holds on all of them comes last."""
    from rich.console import Console

    from ..results.choosing.words import recommendation_lines
    from ..results.table import front_table
    from ..results.view import views_of
    from ..results.why import why_lines

    width = None if sys.stdout.isatty() else 140
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    if run.device is not None:
        console.print(front_table(run))
        show(*recommendation_lines(run))
        return
    views = views_of(run)
    lines = [why_lines(view) for view in views]
    everywhere: list[str] = []
    if len(views) > 1:
        console.print(front_table(run))
        show(*recommendation_lines(run))
        everywhere = [line for line in lines[0] if all(line in other for other in lines)]
    for view, view_lines in zip(views, lines, strict=True):
        if len(views) > 1:
            console.print(f"\n{printable(view.target.name)}")
        console.print(front_table(view.run))
        show(*recommendation_lines(view.run))
        for line in view_lines:
            if line not in everywhere:
                console.print(printable(line))
    if everywhere:
        console.print("\non all targets", *map(printable, everywhere), sep="\n")
