"""What a command says beside its result, on stderr: text for a person, JSON for a program
(`--log-format json`), or nothing but errors (`--quiet`).

The callbacks of the two options choose it before the command begins.
"""

import sys
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ...text.printable import json_text, printable

if TYPE_CHECKING:
    from ...explore.session.progress import Progress


class LogFormat(StrEnum):
    """How stderr is written."""

    text = "text"
    json = "json"


_format = ContextVar("format", default=LogFormat.text)
_quiet = ContextVar("quiet", default=False)


def _choose_format(value: LogFormat) -> LogFormat:
    _format.set(value)
    return value


def _choose_quiet(value: bool) -> bool:
    _quiet.set(value)
    return value


Quiet = Annotated[
    bool,
    typer.Option("--quiet", callback=_choose_quiet, help="Show no progress and no notes, only errors."),
]
LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        callback=_choose_format,
        help="Progress, notes and errors on stderr as text, or as JSON, one object a line.",
    ),
]


def log_line(event: str, text: object) -> str:
    """The text as one line: as it is, or as the object of a program."""
    if _format.get() == LogFormat.json:
        return json_text({"event": event, "text": printable(text)})
    return printable(text)


def say(*lines: object) -> None:
    """Prints notes to stderr; whatever they say is text."""
    if not _quiet.get():
        for line in lines:
            print(log_line("note", line), file=sys.stderr)


def say_error(*lines: object) -> None:
    """Prints why the command ends, `--quiet` or not."""
    for line in lines:
        print(log_line("error", line), file=sys.stderr)


def make_progress(*, silent: bool = False, events: bool = False) -> "Progress":
    """The display that the user chose: live on a terminal, plain lines elsewhere. `silent`: none. `events`:
    JSON on stdout.
    """
    from ...explore.session.events import EventProgress
    from ...explore.session.live import LiveProgress
    from ...explore.session.progress import PlainProgress, QuietProgress

    if events and not _quiet.get():
        return EventProgress(sys.stdout)
    if silent or events or _quiet.get():
        return QuietProgress()
    if _format.get() == LogFormat.json:
        return EventProgress(sys.stderr)
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()
