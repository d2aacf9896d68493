"""LiveProgress: the stage, the time and the front so far, redrawn in place on a terminal."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ...results.why.spent import time_words
from ...text.printable import printable
from .progress import FrontRow, Progress, Status

_ROWS = 8
_BAR, _DONE, _LEFT = 60, "█", "░"


class LiveProgress(Progress):
    """The current stage, the time and the front so far, redrawn in place."""

    def __init__(self) -> None:
        self._stage, self._waiting = "starting", ""
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
        status = self.now()
        if status is not None:
            if status.share is not None:
                parts.append(_bar(status.share))
            parts.append(Text(printable(status.summary())))
            if status.time:
                parts.append(Text(f"time: {time_words(status.time)}", style="dim"))
            if status.front:
                parts.append(_front_table(status.front))
        return Group(*parts)


def _bar(share: float) -> Text:
    """What is done and what is not, which look different without colour, too."""
    done = round(_BAR * min(1.0, share))
    bar = Text().append(_DONE * done, style="green").append(_LEFT * (_BAR - done), style="dim")
    return bar.append(f" {100 * min(1.0, share):3.0f} %")


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
