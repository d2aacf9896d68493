"""PacedTraining: training that lets measurements of other searches through."""

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from types import TracebackType

from ..targets.lease import training

PACE_S = 5.0

Progress = Callable[[str], None]


class PacedTraining:
    """The lease for training, given up for a moment at least every PACE_S.

    A context manager that is called with a message as a progress callback. `cores` are those that the process
    is pinned to, if it is.
    """

    def __init__(self, progress: Progress, *, cores: Collection[int] | None = None):
        self._progress = progress
        self._cores = cores
        self._lease = ExitStack()
        self._since = 0.0

    def __enter__(self) -> "PacedTraining":
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lease.close()

    def __call__(self, message: str) -> None:
        self._progress(message)
        if time.monotonic() - self._since > PACE_S:
            self._lease.close()
            self._take()

    def _take(self) -> None:
        self._lease.enter_context(training(cores=self._cores))
        self._since = time.monotonic()
