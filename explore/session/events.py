"""EventProgress: a search as JSON, one object a line, for programs (`search --json`, `--log-format json`)."""

import time
from collections.abc import Callable
from typing import Any, TextIO

from ...text.printable import json_text, printable_strings
from .progress import Progress, Status

_STAGES_S = 1.0  # at most one stage in this time: some change a hundred times a second


class EventProgress(Progress):
    """Each line has an `event`: `began`, `stage`, `waiting`, `note`, `trial` or `front` (its points changed).

    All but notes carry `elapsed_s`, and `left_s` where it is known.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._staged_s = float("-inf")
        self._front: list[int] = []

    def began(self, status: Status, elapsed: Callable[[], float]) -> None:
        """The counts, the time, and the front where a search goes on."""
        super().began(status, elapsed)
        self._write("began", **_counts(status))
        self._changed(status)

    def stage(self, text: str) -> None:
        """The stage, unless one was told just now."""
        now = time.monotonic()
        if now - self._staged_s >= _STAGES_S:
            self._staged_s = now
            self._timed("stage", text)

    def waiting(self, text: str) -> None:
        """What is waited for; an empty text when it goes on."""
        self._timed("waiting", text)

    def note(self, text: str) -> None:
        """A warning, a failure."""
        self._write("note", text=text)

    def finished(self, line: str, status: Status) -> None:
        """The trial, and the front if it is another one now."""
        self._status = status
        self._write("trial", trial=status.trial, text=line, **_counts(status))
        self._changed(status)

    def _timed(self, event: str, text: str) -> None:
        status = self.now()
        self._write(event, text=text, **(_times(status) if status else {}))

    def _changed(self, status: Status) -> None:
        trials = [row.trial for row in status.front]
        if trials != self._front:
            self._front = trials
            points = [{"trial": row.trial, **row.numbers} for row in status.front]
            self._write("front", points=points, **_times(status))

    def _write(self, event: str, **values: Any) -> None:
        line = json_text(printable_strings({"event": event, **values}))
        print(line, file=self._stream, flush=True)


def _counts(status: Status) -> dict[str, Any]:
    return {
        "measured": status.finished,
        "failed": status.failed,
        "screened_out": status.screened,
        "hypervolume": status.hypervolume,
        "queued": dict(status.queued),
        **_times(status),
    }


def _times(status: Status) -> dict[str, Any]:
    return {"elapsed_s": status.elapsed_s, "left_s": status.left_s, "share": status.share}
