"""Clock: seconds that a search has spent, over all of its sessions."""

import threading
import time
from pathlib import Path
from types import TracebackType

from ...files import write_text

HEARTBEAT_S = 2.0


class Clock:
    """Elapsed seconds, kept in a file every HEARTBEAT_S so that a killed search loses no more than that. A
    context manager.

    Time is monotonic within a session; the time between sessions does not count.
    """

    def __init__(self, path: Path):
        self._path = path
        self._before = _stored(path)
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="autocompress-clock", daemon=True)

    @property
    def elapsed_s(self) -> float:
        """Seconds of all sessions together."""
        return self._before + time.monotonic() - self._start

    def __enter__(self) -> "Clock":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._write()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            self._write()

    def _write(self) -> None:
        """A heartbeat that cannot be written (a full disk) must not end the search; its next file will say
        so.
        """
        try:
            write_text(self._path, f"{self.elapsed_s:.3f}\n")
        except OSError:
            return


def _stored(path: Path) -> float:
    """Seconds of earlier sessions; 0 when there are none or the file is damaged."""
    try:
        return max(0.0, float(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0.0
