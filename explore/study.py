"""The Optuna study of a run: three objectives on SQLite, ask and tell, and what a killed coordinator left
behind.

Crash safety. Every step is a committed transaction, so that a `kill -9` leaves at most two trials RUNNING:
one here, one whose recovery goes on beside. The next coordinator (there is only one: the run directory is
locked) *adopts* them: the same numbers, the parameters already drawn, tried before anything new. If a point
was stored but not told, it is told and not repeated. A trial that is interrupted again and again waits until
the others are done, and fails only when it is to blame (interruptions.py).

States. COMPLETE is measured, feasible or not (Optuna's constraints tell which); FAIL has no measurement and
samplers ignore it; PRUNED was screened out before it was built, or stopped since it could not join the front
any more: TPE places it behind every complete trial, NSGA-II ignores it, and `front` learns from the estimate.

Corrections. A trial's values are its worst of the targets that measured it, and a board that was away
measures it later. study_file.py says how a trial that has ended gets other values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from ..compress.recipe import Recipe
from ..errors import InputError, RunDirectoryError
from ..files import DIGEST, seal
from ..results.records.point import Failure, Point
from ..results.records.progress import Stopped
from ..results.records.reading import Fields, Unfit
from .interruptions import Interruptions, Machine
from .preparation.request import SAMPLERS
from .sampling.sampler import ESTIMATED, FrontSampler
from .screen import Screened
from .space.space import RECOVER, Parameters
from .state import Objectives
from .study_file import Correction, StudyFile, storage_errors

T = TypeVar("T")

POINT, FAILURE, _SCREENED = "point", "failure", "screened"  # user attributes
_STOPPED = "stopped"  # another one
_INTERRUPTIONS = "interruptions"  # another one
_FIXED = "fixed_params"  # Optuna's key for the parameters of an enqueued trial
_POPULATION = 12


def make_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler called `name`. InputError when there is none.

    `front` draws at random until its tables are there (`use_sampler`). TPE is multivariate, since univariate
    TPE fits its model once per parameter: 0.3 s a trial at 100 parameters. A liar for running trials is of no
    use with one coordinator. NSGA-II's population fits a search of a hundred trials.
    """
    seed %= 2**32
    if name == "tpe":
        return TPESampler(seed=seed, multivariate=True, constant_liar=False)
    if name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=_POPULATION)
    if name == "gp":
        return GPSampler(seed=seed)
    if name in ("random", "front"):
        return RandomSampler(seed=seed)
    raise InputError(f"There is no sampler {name!r}: choose {', '.join(SAMPLERS)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """The trials of a dead coordinator: those to try `first`, and those that are `set_aside` until the others
    are done.
    """

    first: list[Trial] = field(default_factory=list)
    set_aside: list[Trial] = field(default_factory=list)


def stopped_attributes(stopped: Stopped, values: Sequence[float]) -> dict[str, Any]:
    """The user attributes of a trial that lost its race."""
    return {_STOPPED: seal(stopped.to_json()), ESTIMATED: list(values)}


def is_lost(trial: FrozenTrial) -> bool:
    """Whether nothing but the number of a trial is left (rebuild.py)."""
    return trial.state == TrialState.FAIL and not trial.params and FAILURE not in trial.user_attrs


class SearchStudy:
    """The trials of a run. Not for use from several threads or processes.

    A Trial that was handed out stays good for these methods when the study is corrected meanwhile.
    """

    def __init__(self, file: StudyFile):
        self._file = file

    @classmethod
    def open(cls, path: Path, *, sampler: str, seed: int) -> Self:
        """The study in the SQLite file, made when it is missing. RunDirectoryError when it is damaged.

        The sampler's seed moves on with the number of trials, so that a continued search does not draw the
        same again.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with storage_errors(path):
            file = StudyFile.open(path)
            count = len(file.study.get_trials(deepcopy=False))
        file.study.sampler = make_sampler(sampler, seed + 7919 * count)
        return cls(file)

    @property
    def trials(self) -> Sequence[FrozenTrial]:
        """All trials in order of their numbers; not to be changed."""
        return self._file.study.get_trials(deepcopy=False)

    def use_sampler(self, sampler: BaseSampler) -> None:
        """Draws the parameters of later trials from this sampler; one of `front` is told of every trial that
        ended.
        """
        self._file.study.sampler = sampler
        if isinstance(sampler, FrontSampler):
            sampler.proposer(self._file.study)

    def ask(self, parameters: Parameters | None = None) -> Trial:
        """The next trial, RUNNING, from the sampler or with these parameters.

        A waiting trial (its coordinator died between the two steps) is continued instead of queueing the same
        again.
        """
        waiting = [trial for trial in self.trials if trial.state == TrialState.WAITING]
        for trial in waiting:
            self._settle_recovery(trial)
        if parameters is not None and not waiting:
            self.enqueue(parameters)
        asked = self._file.study.ask()
        self.begin(asked)
        return asked

    def begin(self, trial: Trial) -> None:
        """Notes that work on a trial begins: if the search ends before it is told or released, that is an
        interruption.
        """
        interruptions = self._interruptions(trial.number)
        self._note(trial.number, replace(interruptions, since=Machine.now()))

    @property
    def stored(self) -> "SearchStudy":
        """The study on disk: this one, unless it replays another (replay.py)."""
        return self

    def drawn(self, trial: Trial) -> None:
        """To be called when a trial has its parameters."""

    def known(self, trial: Trial, recipe: Recipe) -> Point | Failure | None:
        """What an earlier session found out about a trial that was just drawn."""
        return None

    def add(self, trial: FrozenTrial) -> None:
        """Adds a trial as it is."""
        self._file.study.add_trial(trial)

    def outcome(self, number: int) -> Point | Failure | None:
        """What came of a trial of this number; None if there is none, or nothing came of it yet."""
        trial = self.trials[number] if number < len(self.trials) else None
        if trial is not None and FAILURE in trial.user_attrs:
            return self._read(trial, FAILURE, Failure.from_json)
        return self._point(trial) if trial is not None and POINT in trial.user_attrs else None

    def enqueue(self, parameters: Parameters) -> None:
        """Makes the next trial one with these parameters."""
        self._file.study.enqueue_trial(dict(parameters))

    def _settle_recovery(self, trial: FrozenTrial) -> None:
        """A trial that a version without `recover` left is not recovered: no sampler may decide that now."""
        fixed = trial.system_attrs.get(_FIXED, {})
        if (trial.params or fixed) and RECOVER not in trial.params and RECOVER not in fixed:
            trial_id = self._file.trial_id(trial.number)
            self._file.storage.set_trial_system_attr(trial_id, _FIXED, {**fixed, RECOVER: 0})

    def adopt(self, on_measured: Callable[[Trial, Point], None], *, crash: str = "") -> Adopted:
        """The RUNNING trials that a dead coordinator left; an interruption of those that it worked on.

        `on_measured` gets a trial whose point was stored before its end; it must tell it. `crash` is what a
        fatal signal left.
        """
        adopted, now = Adopted(), Machine.now()
        for running in self._file.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._settle_recovery(running)
            trial = self._trial(running.number)
            if POINT in running.user_attrs:
                on_measured(trial, self._point(running))
                continue
            interruptions = self._interruptions(running.number).adopted(now, crash=crash)
            self._note(running.number, interruptions)
            if running.number == 0 or not interruptions.set_aside:  # nothing can be done without the original
                adopted.first.append(trial)
            elif not interruptions.given_up:
                adopted.set_aside.append(trial)
            else:
                self._give_up(trial, interruptions)
        return adopted

    def _give_up(self, trial: Trial, interruptions: Interruptions) -> None:
        reasons = ", ".join(dict.fromkeys(interruptions.against))
        message = f"the search ended {interruptions.count} times while it tried this candidate: {reasons}"
        self.fail(
            trial,
            Failure(trial=trial.number, stage="build", kind="crash", message=message, retryable=False),
        )

    def release(self, trial: Trial) -> None:
        """Leaves a trial RUNNING for the next coordinator, without counting this attempt: the user stopped
        the search.
        """
        self._note(trial.number, replace(self._interruptions(trial.number), since=None))

    def release_all(self) -> None:
        """The same for every trial that is under way."""
        for trial in self.trials:
            if trial.state == TrialState.RUNNING and self._interruptions(trial.number).since is not None:
                self._note(trial.number, replace(self._interruptions(trial.number), since=None))

    def accuse(self, trial: Trial, reason: str) -> None:
        """Leaves a trial RUNNING that ends the search."""
        self._note(trial.number, self._interruptions(trial.number).accused(reason))

    def _interruptions(self, number: int) -> Interruptions:
        trial = self.trials[number]
        if _INTERRUPTIONS not in trial.user_attrs:
            return Interruptions()
        return self._read(trial, _INTERRUPTIONS, Interruptions.from_json)

    def _note(self, number: int, interruptions: Interruptions) -> None:
        trial_id = self._file.trial_id(number)
        self._file.storage.set_trial_user_attr(trial_id, _INTERRUPTIONS, interruptions.to_json())

    def store(self, trial: Trial, point: Point) -> None:
        """Stores what was measured; the trial still has to be finished. From here on it is never measured
        again.
        """
        self._trial(trial.number).set_user_attr(POINT, seal(point.to_json()))

    def finish(self, trial: Trial, objectives: Objectives) -> None:
        """Ends a trial whose point is stored."""
        trial = self._trial(trial.number)
        for name, excess in objectives.constraints.items():
            trial.set_constraint(name, excess)
        self._file.study.tell(trial, values=list(objectives.values))

    def correct(self, points: Sequence[tuple[Point, Objectives]]) -> None:
        """Changes complete trials of which more is known now; the sampler goes on with what they say then.

        All of them or none, whenever the process dies. RunDirectoryError when the file cannot be written.
        """
        before = {trial.number: trial for trial in self.trials}
        corrections = [
            Correction(
                trial=point.trial,
                values=objectives.values,
                constraints=objectives.constraints,
                user_attrs={POINT: seal(point.to_json())},
            )
            for point, objectives in points
        ]
        with storage_errors(self._file.path):
            self._file = self._file.corrected(corrections)
        sampler = self._file.study.sampler
        if isinstance(sampler, FrontSampler):
            for correction in corrections:
                sampler.correct(before[correction.trial], correction.values)

    def rewrite(self, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> None:
        """Puts the trials that `change` returns in the place of all trials: all or none, as in `correct`."""
        with storage_errors(self._file.path):
            self._file = self._file.rewritten(change)

    def stop(self, trial: Trial, stopped: Stopped, values: Sequence[float]) -> None:
        """Ends a trial that lost its race; `values` are its objectives, the drop estimated."""
        trial = self._trial(trial.number)
        for key, value in stopped_attributes(stopped, values).items():
            trial.set_user_attr(key, value)
        self._file.study.tell(trial, state=TrialState.PRUNED)

    def stopped(self) -> list[Stopped]:
        """Every candidate that lost its race, by trial number. RunDirectoryError when one is damaged."""
        pruned = (trial for trial in self.trials if trial.state == TrialState.PRUNED)
        return [
            self._read(trial, _STOPPED, lambda fields: fields.sealed(Stopped.from_json))
            for trial in pruned
            if _STOPPED in trial.user_attrs
        ]

    def fail(self, trial: Trial, failure: Failure) -> None:
        """Ends a trial that has no measurement."""
        trial = self._trial(trial.number)
        trial.set_user_attr(FAILURE, failure.to_json())
        self._file.study.tell(trial, state=TrialState.FAIL)

    def screen(self, trial: Trial, screened: Screened) -> None:
        """Ends a trial that was not built; an excess above 0 counts as a broken constraint."""
        trial = self._trial(trial.number)
        trial.set_user_attr(_SCREENED, screened.reason)
        if screened.excess > 0:
            trial.set_constraint(screened.reason, screened.excess)
        self._file.study.tell(trial, state=TrialState.PRUNED)

    def points(self) -> list[Point]:
        """Every measured candidate, by trial number. RunDirectoryError when one is damaged."""
        return [self._point(trial) for trial in self.trials if trial.state == TrialState.COMPLETE]

    def failures(self) -> list[Failure]:
        """Every failed candidate, by trial number."""
        failed = (trial for trial in self.trials if trial.state == TrialState.FAIL and not is_lost(trial))
        return [self._read(trial, FAILURE, Failure.from_json) for trial in failed]

    def screened_count(self) -> int:
        """How many candidates were screened out."""
        return sum(
            trial.state == TrialState.PRUNED and _STOPPED not in trial.user_attrs for trial in self.trials
        )

    def _trial(self, number: int) -> Trial:
        """The live trial of this number in the study that counts now."""
        return Trial(self._file.study, self._file.trial_id(number))

    def _point(self, trial: FrozenTrial) -> Point:
        def read(fields: Fields) -> Point:  # an earlier version wrote no digest
            return fields.sealed(Point.from_json) if fields.has(DIGEST) else Point.from_json(fields)

        return self._read(trial, POINT, read)

    def _read(self, trial: FrozenTrial, key: str, read: Callable[[Fields], T]) -> T:
        try:
            return read(Fields(trial.user_attrs.get(key), f"trial {trial.number}"))
        except Unfit as error:
            raise RunDirectoryError(
                f"{self._file.path}: {error}: restore it, or search again with --fresh."
            ) from error
