"""Progress: what a person sees on stderr while a search runs; live on a terminal, one line per trial
elsewhere, or nothing.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ...profiles import format_duration
from ...results.why.spent import time_words
from ...text.printable import printable

_ROWS = 8
_BAR = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRow:
    """A point of the front so far, its numbers as text."""

    trial: int
    quality: str
    drop: str
    latency: str
    size: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A search at one moment. `share` (0..1) and `left_s` are None when neither budget nor number of trials
    is known.

    `hypervolumes` are those of each target alone where there are several. `time` are the seconds by activity
    so far, `queued` the measurements that wait for a target, by its name.
    """

    finished: int
    failed: int
    screened: int
    hypervolume: float
    elapsed_s: float
    share: float | None
    left_s: float | None
    front: Sequence[FrontRow]
    time: Mapping[str, float] = field(default_factory=dict)
    queued: Mapping[str, int] = field(default_factory=dict)
    hypervolumes: Mapping[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """One line: trials, front, hypervolume, what is queued, time left."""
        parts = [f"{self.finished} measured"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.screened} screened out"] if self.screened else []
        parts += [f"{len(self.front)} on the front", f"hypervolume {self.hypervolume:.3f}"]
        parts[-1] += _each(self.hypervolumes)
        parts += [f"{count} queued for {name}" for name, count in self.queued.items()]
        parts += [f"{format_duration(self.left_s)} left"] if self.left_s is not None else []
        return ", ".join(parts)


def _each(hypervolumes: Mapping[str, float]) -> str:
    """` (cpu 0.210, edge 0.190)`; nothing with one target."""
    each = ", ".join(f"{name} {value:.3f}" for name, value in hypervolumes.items())
    return f" ({each})" if each else ""


class Progress(ABC):
    """Shows a search to a person. A context manager; all methods return at once and never raise for what they
    show: a text is one line, in which nothing acts.
    """

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def stage(self, text: str) -> None:
        """What is being done now."""

    def waiting(self, text: str) -> None:
        """That nothing is done but waiting, shown in place of the stage until an empty text ends it."""
        return None

    @abstractmethod
    def note(self, text: str) -> None:
        """Something that should stay readable: a warning, a failure."""

    @abstractmethod
    def finished(self, line: str, status: Status) -> None:
        """A trial ended, described by `line`."""


class QuietProgress(Progress):
    """Shows nothing."""

    def stage(self, text: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def finished(self, line: str, status: Status) -> None:
        """Nothing."""


class PlainProgress(Progress):
    """One line for each trial and note: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr

    def stage(self, text: str) -> None:
        """Nothing: stages come too often for a log."""

    def note(self, text: str) -> None:
        """The text as a line."""
        print(printable(text), file=self._stream, flush=True)

    def finished(self, line: str, status: Status) -> None:
        """The trial and the summary as a line."""
        print(printable(f"{line}  [{status.summary()}]"), file=self._stream, flush=True)


class LiveProgress(Progress):
    """The current stage, the time and the front so far, redrawn in place."""

    def __init__(self) -> None:
        self._stage, self._waiting = "starting", ""
        self._status: Status | None = None
        self._spinner = Spinner("dots")
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console, refresh_per_second=4, transient=True, get_renderable=self._render
        )

    def __enter__(self) -> "LiveProgress":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def stage(self, text: str) -> None:
        """Replaces the stage's line."""
        self._stage = printable(text)

    def waiting(self, text: str) -> None:
        """Stands in place of the stage while there is one."""
        self._waiting = printable(text)

    def note(self, text: str) -> None:
        """Prints the text above the display."""
        self._console.print(Text(printable(text)))

    def finished(self, line: str, status: Status) -> None:
        """Redraws the front."""
        self._status = status
        self._live.refresh()

    def _render(self) -> RenderableType:
        self._spinner.update(text=Text(self._waiting or self._stage))
        parts: list[RenderableType] = [self._spinner]
        if self._status is not None:
            if self._status.share is not None:
                done = round(_BAR * min(1.0, self._status.share))
                parts.append(Text("━" * done, style="green").append("━" * (_BAR - done), style="dim"))
            parts += [Text(printable(self._status.summary())), _front_table(self._status.front)]
            if self._status.time:
                parts.insert(-1, Text(f"time: {time_words(self._status.time)}", style="dim"))
        return Group(*parts)


def _front_table(rows: Sequence[FrontRow]) -> Table:
    table = Table(title="front so far", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("trial", "validation", "drop", "latency ×", "size ×"):
        table.add_column(name, justify="right")
    for row in _thinned(rows):
        cells = (str(row.trial), row.quality, row.drop, row.latency, row.size)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _thinned(rows: Sequence[FrontRow]) -> Sequence[FrontRow]:
    """At most _ROWS rows, evenly chosen, the ends kept."""
    if len(rows) <= _ROWS:
        return rows
    return [rows[round(index * (len(rows) - 1) / (_ROWS - 1))] for index in range(_ROWS)]


def make_progress(*, quiet: bool) -> Progress:
    """Live on a terminal, plain lines elsewhere, nothing when `quiet`."""
    if quiet:
        return QuietProgress()
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()
