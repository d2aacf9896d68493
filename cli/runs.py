"""The command `runs`: which run directories there are, and how far each is. It only reads data."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..text.printable import json_text, printable, printable_strings
from .console.completion import RUN_FILES
from .support import Json, errors

if TYPE_CHECKING:
    from ..results.records.point import Point
    from ..results.records.run import Run

_WIDTH = 180  # of the table where stdout is no terminal
Below = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to look for run directories.")]


def runs(folder: Below = Path("runs"), *, as_json: Json = False) -> None:
    """List the run directories below a folder: task, target, state, trials, best points, size on disk.

    Examples:

        autocompress runs

        autocompress runs ~/searches --json
    """
    with errors():
        if not folder.is_dir():
            raise InputError(
                f"There is no folder {folder}: give the one in which searches wrote their runs, "
                "such as the folder of --out."
            )
        entries = [entry_of(path) for path in run_directories(folder)]
        if as_json:
            print(json_text([printable_strings(entry.to_json()) for entry in entries], indent=2))
        elif entries:
            _print(entries)
        else:
            print(printable(f"No runs below {folder}: `autocompress search` makes one."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run directory. `run` is None where nothing was measured yet, or where `problem` says why it cannot be
    read. `holder` is the process that works on it now, such as `search (process 71)`.
    """

    path: Path
    run: "Run | None"
    holder: str
    problem: str
    size_bytes: int

    @property
    def state(self) -> str:
        """`running: search (process 71)`, `finished`, `interrupted`, or what is damaged."""
        if self.holder:
            return f"running: {self.holder}"
        if self.problem:
            return f"damaged: {self.problem}"
        return "finished" if self.run is not None and self.run.status == "finished" else "interrupted"

    @property
    def best(self) -> "dict[str, Point]":
        """The recommended points by their names; the original where nothing else is. Empty without a run."""
        from ..results.choosing.recommended import named_points, recommended

        if self.run is None:
            return {}
        star = recommended(self.run)
        originals = dict.fromkeys(("fastest", "smallest"), star.point) if star.meets else {}
        return {name: each.point for each in named_points(self.run) for name in each.names} or originals

    def to_json(self) -> dict[str, Any]:
        """The entry for a program; `best` are ratios to the original, the drop in the metric's unit."""
        run = self.run
        counts = {"measured": len(run.points), "failed": len(run.failures)} if run else {}
        return {
            "path": str(self.path),
            "task": run.facts.task.name if run else None,
            "targets": list(run.target_names) if run else [],
            "state": self.state.partition(":")[0],
            "holder": self.holder or None,
            "problem": self.problem or None,
            "trials": {**counts, "stopped": len(run.stopped), "screened_out": run.screened} if run else {},
            "elapsed_s": run.elapsed_s if run else None,
            "best": {name: _numbers(run, point) for name, point in self.best.items()} if run else {},
            "size_bytes": self.size_bytes,
        }


def run_directories(folder: Path) -> Iterator[Path]:
    """The run directories in and below the folder, by path. Links are not followed."""
    for path, folders, files in os.walk(folder):
        if RUN_FILES & set(files):
            folders.clear()
            yield Path(path)
        folders.sort()


def entry_of(path: Path) -> Entry:
    """What the directory tells. A damaged one is an entry, too."""
    from ..results.run_directory import read_front
    from ..results.run_lock import holder

    run, problem = None, ""
    try:
        run = read_front(path)
    except InputError as error:
        problem = str(error)
    return Entry(path=path, run=run, holder=holder(path), problem=problem, size_bytes=_size(path))


def _size(path: Path) -> int:
    """The bytes of all files in the directory, without what links lead to."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(FileNotFoundError):  # a search that goes on removes its temporary files
                total += Path(folder, name).lstat().st_size
    return total


def _numbers(run: "Run", point: "Point") -> dict[str, float]:
    from ..results.pick import cost_of

    _, size, latency = run.vector(point)
    drop = cost_of(run, point, "drop")
    return {"trial": point.trial, "drop": drop, "latency_ratio": latency, "size_ratio": size}


def _print(entries: list[Entry]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("run", "task", "target", "trials", "front", "fastest", "smallest", "on disk", "state"):
        table.add_column(name, justify="right" if name in ("trials", "front", "on disk") else "left")
    for entry in entries:
        table.add_row(*(Text(printable(cell)) for cell in _cells(entry)))
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)


def _cells(entry: Entry) -> list[str]:
    from ..profiles import format_size
    from ..results.formats import Formats, ratio_text

    run, on_disk = entry.run, format_size(entry.size_bytes)
    if run is None:
        return [str(entry.path), *[""] * 6, on_disk, entry.state]
    best = {name: _numbers(run, point) for name, point in entry.best.items()}
    drops = {name: Formats.of(run).drop(numbers["drop"]) for name, numbers in best.items()}
    fastest, smallest = "", ""
    if best:
        fastest = f"{ratio_text(best['fastest']['latency_ratio'])} latency, drop {drops['fastest']}"
        smallest = f"{ratio_text(best['smallest']['size_ratio'])} size, drop {drops['smallest']}"
    return [
        str(entry.path),
        run.facts.task.name,
        ", ".join(run.facts.target_names),
        str(len(run.points) + len(run.failures)),
        str(len(run.front)),
        fastest,
        smallest,
        on_disk,
        entry.state,
    ]
