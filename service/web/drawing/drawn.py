"""What is drawn of the searches' fronts, and who asks for more."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....nightly.commands import end_with
from ..front_state import FrontState

_COMMAND = (sys.executable, "-P", "-m", "autocompress.service.web.drawing.drawer")
_MOST_TRIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A front as HTML, its failures, and the limits that can be chosen; `wrong` is why it cannot be drawn.
    `newest`: the run has no newer front.
    """

    table: str
    failures: str
    sliders: tuple[Mapping[str, Any], ...]
    wrong: str
    newest: bool


class Drawings:
    """What is drawn below `folder`. A thread passes what is asked for to the process that draws."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._waiting: dict[str, FrontState] = {}
        self._tries: dict[str, int] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._ends = False

    def of(self, search_id: str, state: FrontState) -> Drawn | None:
        """What is drawn of a search, and whether it is this state; None before the first. Asks for the state
        where it is another.
        """
        try:
            page = json.loads((self._folder / search_id / "page.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            page = None
        newest = page is not None and page["name"] == state.name
        if not newest:
            self.ask(search_id, state)
        if page is None:
            return None
        return Drawn(
            table=page["table"],
            failures=page["failures"],
            sliders=tuple(page["sliders"]),
            wrong=page["wrong"],
            newest=newest,
        )

    def charts(self, search_id: str) -> bytes:
        """The charts as JSON for Plotly; an empty object before the first."""
        with suppress(OSError):
            return (self._folder / search_id / "charts.json").read_bytes()
        return b"{}"

    def ask(self, search_id: str, state: FrontState) -> None:
        """Has a front drawn; of one search the newest alone."""
        with self._changed:
            if self._ends or self._tries.get(state.name, 0) >= _MOST_TRIES:
                return
            self._waiting[search_id] = state
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Ends the process."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        if self._process is not None:
            self._process.kill()
        if self._thread is not None:
            self._thread.join()
        self._put_away()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ends or self._waiting)
                if self._ends:
                    return
                search_id, state = next(iter(self._waiting.items()))
                self._tries[state.name] = self._tries.get(state.name, 0) + 1
            self._draw(search_id, state)
            with self._changed:
                if self._waiting.get(search_id) == state:
                    del self._waiting[search_id]

    def _draw(self, search_id: str, state: FrontState) -> None:
        """Waits until it is drawn, or the process has ended: the next one who asks starts another."""
        if self._process is None or self._process.poll() is not None:
            self._put_away()
            self._process = _started()
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"run": str(state.folder), "out": str(self._folder / search_id), "name": state.name}
        with suppress(OSError):
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            if not self._process.stdout.readline():
                self._process.wait()

    def _put_away(self) -> None:
        """Closes what is left of a process that has ended."""
        if self._process is not None:
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()


def _started() -> "subprocess.Popen[str]":
    parent = os.getpid()
    return subprocess.Popen(
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: end_with(parent),  # noqa: PLW1509 - it calls one function of the C library
    )
