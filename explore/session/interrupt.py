"""Ctrl-C, SIGTERM and SIGHUP: the first one stops the search at a safe place, the second one at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def signals_heeded() -> list[signal.Signals]:
    """The signals that end a command; those that its parent has it ignore, as `nohup` does, are none."""
    return [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP while a search runs. A context manager; Python gives signals to the main
    thread, and in another one nothing is heeded.

    The first signal raises KeyboardInterrupt at once inside `allowed()` (building, measuring), elsewhere
    (bookkeeping) at the next `allowed()`. Any further signal raises it wherever it comes: a run directory
    survives even that.
    """

    def __init__(self) -> None:
        self.requested = False
        self._interruptible = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._on_signal) for number in signals_heeded()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A block that a signal may end; ends at once when one came before."""
        try:
            self._interruptible = (
                True  # before the look at what came: a signal between the two would be noticed by neither
            )
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._interruptible = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or self._interruptible:
            self._interruptible = False
            raise KeyboardInterrupt
