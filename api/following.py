"""Following a search: a function that is called with each event, or a progress bar."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from ..explore.session.progress import PlainProgress, Progress, QuietProgress, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened: `stage` (what is done now), `waiting` (for another process; empty when it goes on),
    `note` (what a person should read) or `trial` (one ended).

    `share` (0..1) of the search is done and `left_s` seconds are left, after the first trial and where that
    is known.
    """

    kind: Literal["stage", "waiting", "note", "trial"]
    text: str
    share: float | None = None
    left_s: float | None = None
    hypervolume: float = 0.0


Callback = Callable[[Event], object]


def progress_of(wanted: "Callback | bool | None") -> Progress:
    """The display for what the caller wants: a function; True for a bar in a notebook and lines elsewhere,
    False for nothing.
    """
    if callable(wanted):
        return Following(wanted)
    if not wanted:
        return QuietProgress()
    return BarProgress() if in_notebook() else PlainProgress()


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    return "ipykernel" in sys.modules


class Following(Progress):
    """Calls a function with each event."""

    def __init__(self, callback: Callback):
        self._callback = callback

    def stage(self, text: str) -> None:
        """An event of the kind `stage`."""
        self._callback(Event(kind="stage", text=text))

    def waiting(self, text: str) -> None:
        """An event of the kind `waiting`."""
        self._callback(Event(kind="waiting", text=text))

    def note(self, text: str) -> None:
        """An event of the kind `note`."""
        self._callback(Event(kind="note", text=text))

    def finished(self, line: str, status: Status) -> None:
        """An event of the kind `trial`."""
        event = Event(
            kind="trial",
            text=line,
            share=status.share,
            left_s=status.left_s,
            hypervolume=status.hypervolume,
        )
        self._callback(event)


class BarProgress(Progress):
    """tqdm's bar: a widget in a notebook that has widgets, text elsewhere."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(total=100, bar_format="{l_bar}{bar}| {elapsed} {postfix}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def stage(self, text: str) -> None:
        """Shows it beside the bar."""
        self._bar.set_postfix_str(text)

    def waiting(self, text: str) -> None:
        """Shows it beside the bar."""
        self._bar.set_postfix_str(text)

    def note(self, text: str) -> None:
        """Writes it above the bar."""
        self._bar.write(text)

    def finished(self, line: str, status: Status) -> None:
        """Moves the bar."""
        if status.share is not None:
            self._bar.n = round(100 * status.share)
        self._bar.set_postfix_str(status.summary())
