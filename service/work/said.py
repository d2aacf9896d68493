"""What a search says: the lines of `search --json` as they are written, as progress and as a log."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MOST_LINES = 500  # of one heartbeat
_LONGEST = 2000
_LARGEST_READ = 4 << 20


class Said:
    """Reads a file that grows. `progress` is what is known now: stage, waiting, front, counts, times."""

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.time):
        self._file = file
        self._clock = clock
        self._offset = 0
        self._number = 0
        self.progress: dict[str, Any] = {}
        self.lines: list[dict[str, Any]] = []

    def read(self) -> None:
        """Takes in what was written since the last time; half a line waits for its end."""
        with self._file.open("rb") as file:
            file.seek(self._offset)
            text = file.read(_LARGEST_READ)
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(line.decode(errors="replace"))

    def sent(self, count: int) -> None:
        """The first `count` lines have arrived."""
        del self.lines[:count]

    @property
    def next_lines(self) -> list[dict[str, Any]]:
        """The lines for the next heartbeat."""
        return self.lines[:_MOST_LINES]

    def note(self, text: str, *, kind: str = "note") -> None:
        """Adds a line to the log."""
        self._number += 1
        self.lines.append(
            {"number": self._number, "at": self._clock(), "kind": kind, "text": text[:_LONGEST]}
        )

    def _take(self, line: str) -> None:
        try:
            value = json.loads(line)
            kind = value["event"]
        except (ValueError, TypeError, KeyError):
            return
        known = ("elapsed_s", "left_s", "share", "measured", "failed", "screened_out", "hypervolume")
        self.progress |= {name: value[name] for name in known if name in value}
        if kind in ("stage", "waiting"):
            self.progress[kind] = str(value.get("text", ""))[:_LONGEST]
        elif kind == "front":
            self.progress["front"] = value.get("points", [])
        elif kind in ("note", "trial"):
            self.note(str(value.get("text", "")), kind=kind)
