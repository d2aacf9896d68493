"""ReplayedStudy: the study of a `--deterministic` search, which every session goes through from its
beginning.

A strategy keeps state that no file has: random generators, tables, counters. A continued search would go on
with another state and draw other candidates. So each session starts the strategy anew on a study in memory,
with the same seed. What the study on disk knows of a trial is told as soon as the strategy draws that trial,
and nothing is built or measured again. Beyond the last trial on disk the search goes on as it always does.

The study on disk is only ever added to. A killed session loses what it loses in any search: the candidate
that it was working on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import Trial, TrialState

from ..compress.recipe import Recipe
from ..errors import RunDirectoryError
from ..results.records.point import Failure, Point
from .screen import Screened
from .state import Objectives
from .study import Adopted, SearchStudy, make_sampler
from .study_file import StudyFile


class ReplayedStudy(SearchStudy):
    """See SearchStudy. It begins without trials, whatever is on disk."""

    def __init__(self, file: StudyFile, on_disk: SearchStudy):
        super().__init__(file)
        self._path = file.path
        self._on_disk = on_disk

    @classmethod
    def open(cls, path: Path, *, sampler: str, seed: int) -> Self:
        """See SearchStudy."""
        on_disk = SearchStudy.open(path, sampler="random", seed=seed)
        storage = InMemoryStorage()
        study = optuna.create_study(
            storage=storage, directions=["minimize"] * 3, sampler=make_sampler(sampler, seed)
        )
        return cls(StudyFile(path, storage, study), on_disk)

    @property
    def stored(self) -> SearchStudy:
        """See SearchStudy."""
        return self._on_disk

    def drawn(self, trial: Trial) -> None:
        """See SearchStudy. RunDirectoryError when what was under way on disk is another candidate."""
        drawn, stored = self.trials[trial.number], self._on_disk.trials
        if trial.number == len(stored):
            self._on_disk.add(drawn)
        elif self._open_on_disk(trial) and stored[trial.number].params != drawn.params:
            raise another_candidate(self._path, trial)
        if self._open_on_disk(trial):
            self._on_disk.begin(trial)

    def known(self, trial: Trial, recipe: Recipe) -> Point | Failure | None:
        """See SearchStudy. RunDirectoryError when it is of another candidate."""
        outcome = self._on_disk.outcome(trial.number)
        if isinstance(outcome, Point) and outcome.recipe != recipe:
            raise another_candidate(self._path, trial)
        return outcome

    def points(self) -> list[Point]:
        """See SearchStudy: those that were drawn again so far."""
        return [point for point in self._on_disk.points() if point.trial < len(self.trials)]

    def failures(self) -> list[Failure]:
        """See SearchStudy: those that were drawn again so far."""
        return [failure for failure in self._on_disk.failures() if failure.trial < len(self.trials)]

    def adopt(self, on_measured: Callable[[Trial, Point], None], *, crash: str = "") -> Adopted:
        """Counts the interruptions of trials that a dead coordinator left. The strategy will draw them again,
        none of them is set aside.
        """
        self._on_disk.adopt(lambda trial, point: None, crash=crash)
        return Adopted()

    def release(self, trial: Trial) -> None:
        """See SearchStudy."""
        self._on_disk.release(trial)

    def accuse(self, trial: Trial, reason: str) -> None:
        """See SearchStudy."""
        self._on_disk.accuse(trial, reason)

    def store(self, trial: Trial, point: Point) -> None:
        """See SearchStudy."""
        super().store(trial, point)
        if self._open_on_disk(trial):
            self._on_disk.store(trial, point)

    def finish(self, trial: Trial, objectives: Objectives) -> None:
        """See SearchStudy."""
        super().finish(trial, objectives)
        if self._open_on_disk(trial):
            self._on_disk.finish(trial, objectives)

    def fail(self, trial: Trial, failure: Failure) -> None:
        """See SearchStudy."""
        super().fail(trial, failure)
        if self._open_on_disk(trial):
            self._on_disk.fail(trial, failure)

    def screen(self, trial: Trial, screened: Screened) -> None:
        """See SearchStudy."""
        super().screen(trial, screened)
        if self._open_on_disk(trial):
            self._on_disk.screen(trial, screened)

    def correct(self, points: Sequence[tuple[Point, Objectives]]) -> None:
        """Corrects the study on disk. The strategy goes on with what it was told first."""
        self._on_disk.correct(points)

    def _open_on_disk(self, trial: Trial) -> bool:
        return self._on_disk.trials[trial.number].state == TrialState.RUNNING


def another_candidate(path: Path, trial: Trial) -> RunDirectoryError:
    """The error of a run that this search does not draw again as it was."""
    return RunDirectoryError(
        f"{path}: trial {trial.number} is another candidate than this search draws now, so that it cannot go "
        "on as it began: search again with --fresh."
    )
