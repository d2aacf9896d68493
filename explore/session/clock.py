"""Clock: seconds that a search has spent, over all of its sessions."""

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ...files import digest_of, read_text, write_text
from ...targets.lease import own_s

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
FROZEN_S = 30.0  # without a heartbeat, and hardly a computation: the process or its machine was frozen


class Clock:
    """Elapsed seconds, kept in a file every HEARTBEAT_S so that a killed search loses no more than that. A
    context manager.

    Time is monotonic within a session; the time between sessions does not count, nor does that for which the
    process was frozen (SIGSTOP, a virtual machine that is put to sleep) or waited for another one that
    measured (targets/lease.py). The session began at `began_s` by `own_s`, or else now. `at_beats` is called
    with every heartbeat.
    """

    def __init__(
        self, path: Path, *, began_s: float | None = None, at_beats: Callable[[], None] = lambda: None
    ):
        self._path, self._at_beats = path, at_beats
        self._before = _stored(path)
        self._start = own_s() if began_s is None else began_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="autocompress-clock", daemon=True)

    @property
    def elapsed_s(self) -> float:
        """Seconds of all sessions together."""
        return self._before + own_s() - self._start

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
        last, computed_s = time.monotonic(), time.process_time()
        while not self._stop.wait(HEARTBEAT_S):
            gap_s = time.monotonic() - last - HEARTBEAT_S
            if gap_s > FROZEN_S and time.process_time() - computed_s < 0.1 * gap_s:
                self._start += gap_s
            last, computed_s = time.monotonic(), time.process_time()
            self._at_beats()
            self._write()

    def _write(self) -> None:
        """A heartbeat that cannot be written (a full disk) must not end the search; its next file will say
        so.
        """
        try:
            seconds = f"{self.elapsed_s:.3f}"
            write_text(self._path, f"{seconds} {digest_of(seconds)}\n")
        except OSError:
            return


def _stored(path: Path) -> float:
    """Seconds of earlier sessions; 0 when there are none, or, with a note, when the file is damaged."""
    try:
        text = read_text(path)
        seconds, _, digest = text.strip().partition(" ")
        old = not digest and text.endswith("\n")  # of a version that wrote none
        if (old or digest_of(seconds) == digest) and math.isfinite(float(seconds)):
            return max(0.0, float(seconds))
        reason = "its digest does not match its content"
    except FileNotFoundError:
        return 0.0
    except (OSError, ValueError) as error:
        reason = str(error)
    log.warning("%s is damaged (%s): the time of the search is counted from 0.", path, reason)
    return 0.0
