"""Queue: the measurements that wait for boards, and what the study is told when they were made.

A correction copies the study: 0.15 s of CPU time for each trial of a hundred parameters. A board that comes
and goes must not cost the search its time, so that a correction may have to wait: the Run has what was
measured at once, the study at the latest before the finalists or in the next session.
"""

import time
from collections.abc import Callable

from ..evaluation.catching_up import CatchingUp
from ..results.records.point import Point
from .session.interrupt import Interrupts
from .session.progress import Progress
from .state import SearchState
from .study import SearchStudy

SPARE = 20.0  # so many times as long as it took, no other correction is made


class Queue:
    """Measures candidates where they are missing, and corrects their trials."""

    def __init__(
        self,
        state: SearchState,
        study: SearchStudy,
        catching_up: CatchingUp,
        *,
        progress: Progress,
        interrupts: Interrupts,
    ):
        self._state = state
        self._study = study
        self._catching_up = catching_up
        self._progress = progress
        self._interrupts = interrupts
        self._next_correction_s = 0.0

    def restored(self, point: Point) -> Point:
        """A point of the study with what was measured later."""
        return self._catching_up.restored(point)

    def catch_up(self, time_left: Callable[[], bool]) -> None:
        """Measures what is missing until the time is over, the original first."""
        before = self._state.run.waiting if self._state.points else {}
        if not before:
            return
        try:
            with self._interrupts.allowed():
                self._catching_up.catch_up(
                    self._state.points, progress=self._progress.stage, time_left=time_left
                )
        finally:
            self._state.changed()
            if time.monotonic() >= self._next_correction_s:
                self.correct()
        after = self._state.run.waiting
        for name, count in before.items():
            done = count - after.get(name, 0)
            if done > 0:
                plural = "s" if done > 1 else ""
                self._progress.note(f"{done} queued measurement{plural} caught up on '{name}'.")

    def correct(self) -> None:
        """Tells the study what was measured later, a killed session's too."""
        missing = {point.trial: set(point.missing) for point in self._study.points()}
        later = [
            point
            for point in self._state.points
            if point.trial in missing and set(point.missing) != missing[point.trial]
        ]
        if not later:
            return
        started_s = time.monotonic()
        self._study.correct([(point, self._state.objectives(point)) for point in later])
        ended_s = time.monotonic()
        self._next_correction_s = ended_s + SPARE * (ended_s - started_s)
