"""Ctrl-C, SIGTERM and SIGHUP from the first moment of a command on: all three end it in the same way.

A search has its own handling while it runs (explore/session/interrupt.py), since it has something to save.
"""

import signal
import sys
from types import FrameType, TracebackType

from ...explore.session.interrupt import signals_heeded

INTERRUPTED = 130  # the exit code, as the shell has it after Ctrl-C
_AGAIN_S = 0.3


class Interruption:
    """Turns signals into KeyboardInterrupt. A context manager, for the main thread.

    A library may swallow the error: `except: pass` around an optional import is common. It is therefore
    raised again and again until it is on its way out, so that the clean-up of `finally` is not disturbed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._raised: KeyboardInterrupt | None = None

    def __enter__(self) -> "Interruption":
        for number in signals_heeded():
            signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.requested:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number in signals_heeded():  # at the end nothing is left to save, and no error to be shown
            signal.signal(number, signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            signal.signal(signal.SIGALRM, self._on_alarm)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
        self._raise()

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if not self._handled():
            self._raise()

    def _raise(self) -> None:
        self._raised = KeyboardInterrupt()
        raise self._raised

    def _handled(self) -> bool:
        """Whether the main thread is in an `except`, `finally` or `__exit__` because of the error."""
        error = sys.exception()
        while error is not None:
            if error is self._raised:
                return True
            error = error.__context__ or error.__cause__
        return False
