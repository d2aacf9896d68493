"""The Optuna study of a run: three objectives on SQLite, ask and tell, and what a killed coordinator left
behind.

Crash safety. Every step is a committed transaction, so that a `kill -9` leaves at most two trials RUNNING:
one here, one whose recovery goes on beside. The next coordinator (there is only one: the run directory is
locked) *adopts* them: the same numbers, the parameters already drawn, tried before anything new. If an
evaluation was stored but not told, it is told and not repeated. A trial that was interrupted MAX_ATTEMPTS
times is taken for the cause of the crash and fails.

States. COMPLETE is measured, feasible or not (Optuna's constraints tell which); FAIL has no measurement and
samplers ignore it; PRUNED was screened out before it was built: TPE places it behind every complete trial,
NSGA-II ignores it.

Corrections. With several targets a trial's values are its worst of those that measured it, and a board that
was away measures it later. Optuna changes nothing of a trial that has ended, and a second trial beside it
would leave the first one, whose numbers look better, on every front. `correct` therefore changes it in the
tables of its file, in one transaction, and reads the study anew: samplers, `optuna-dashboard` and front.json
then say the same. The user attribute `values_told_first` keeps what was told before.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ..errors import InputError, RunDirectoryError
from ..results.evaluation import Evaluation, Failure, Screened
from .request import SAMPLERS
from .sampling.sampler import FrontSampler
from .space.space import RECOVER, Parameters

MAX_ATTEMPTS = 3
_NAME = "search"
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
class Correction:
    """What a trial that has ended should say: its evaluation as it is known now, the objectives, and the
    constraints by name.
    """

    evaluation: Evaluation
    values: tuple[float, float, float]
    constraints: Mapping[str, float]


class SearchStudy:
    """The trials of a run. Not for use from several threads or processes."""

    def __init__(self, study: Study, path: Path):
        self._study = study
        self._path = path

    @classmethod
    def open(cls, path: Path, *, sampler: str, seed: int) -> "SearchStudy":
        """The study in the SQLite file, made when it is missing. RunDirectoryError when it is damaged.

        The sampler's seed moves on with the number of trials, so that a continued search does not draw the
        same again.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with storage_errors(path):
            study = _loaded(path)
            study.sampler = make_sampler(sampler, seed + 7919 * len(study.get_trials(deepcopy=False)))
        return cls(study, path)

    @property
    def trials(self) -> Sequence[FrozenTrial]:
        """All trials in order of their numbers; not to be changed."""
        return self._study.get_trials(deepcopy=False)

    def use_sampler(self, sampler: FrontSampler) -> None:
        """Draws the parameters of later trials from this sampler, which is told of every trial that ended."""
        self._study.sampler = sampler
        sampler.proposer(self._study)

    def ask(self, parameters: Parameters | None = None) -> Trial:
        """The next trial, RUNNING, from the sampler or with these parameters.

        A waiting trial (its coordinator died between the two steps) is continued instead of queueing the same
        again.
        """
        waiting = [trial for trial in self.trials if trial.state == TrialState.WAITING]
        for trial in waiting:
            self._settle_recovery(trial)
        if parameters is not None and not waiting:
            self._study.enqueue_trial(dict(parameters))
        return self._study.ask()

    def _settle_recovery(self, left: FrozenTrial) -> None:
        """A trial that a version without `recover` left is not recovered: no sampler may decide that now."""
        fixed = left.system_attrs.get(_FIXED, {})
        if (left.params or fixed) and RECOVER not in left.params and RECOVER not in fixed:
            self._study._storage.set_trial_system_attr(left._trial_id, _FIXED, {**fixed, RECOVER: 0})

    def adopt(self, on_evaluated: Callable[[Trial], None]) -> list[Trial]:
        """The RUNNING trials that a dead coordinator left, with one more attempt counted.

        `on_evaluated` gets a trial whose evaluation was stored before its end; it must tell it.
        """
        adopted = []
        for left in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._settle_recovery(left)
            trial = Trial(self._study, left._trial_id)
            if "evaluation" in left.user_attrs:
                on_evaluated(trial)
                continue
            attempts = left.user_attrs.get("attempts", 1)
            if attempts < MAX_ATTEMPTS or left.number == 0:
                trial.set_user_attr("attempts", attempts + 1)
                adopted.append(trial)
                continue
            message = f"the search ended {attempts} times while it tried this candidate"
            failure = Failure(
                trial=left.number, stage="build", kind="crash", message=message, retryable=False
            )
            self.fail(trial, failure)
        return adopted

    def release(self, trial: Trial) -> None:
        """Leaves a trial RUNNING for the next coordinator, without counting this attempt: the user stopped
        the search.
        """
        trial.set_user_attr("attempts", trial.user_attrs.get("attempts", 1) - 1)

    def store(self, trial: Trial, evaluation: Evaluation) -> None:
        """Stores what was measured; the trial still has to be finished. From here on it is never evaluated
        again.
        """
        trial.set_user_attr("evaluation", evaluation.to_json())

    def finish(self, trial: Trial, *, values: Sequence[float], constraints: Mapping[str, float]) -> None:
        """Ends a trial whose evaluation is stored. `values` are the objectives, a constraint above 0 is
        broken.
        """
        for name, excess in constraints.items():
            trial.set_constraint(name, excess)
        self._study.tell(trial, values=list(values))

    def correct(self, corrections: Sequence[Correction]) -> None:
        """Changes complete trials of which more is known now; the sampler goes on with what they say then.

        All of them or none, whenever the process dies. RunDirectoryError when the file cannot be written, or
        is another Optuna's.
        """
        before = {trial.number: trial for trial in self.trials}
        with storage_errors(self._path), closing(_connector(self._path)()) as connection, connection:
            for one in corrections:
                _correct(connection, before[one.evaluation.trial], one)
        study = _loaded(self._path)
        study.sampler, self._study = self._study.sampler, study
        if isinstance(study.sampler, FrontSampler):
            for one in corrections:
                study.sampler.correct(before[one.evaluation.trial], one.values)

    def fail(self, trial: Trial, failure: Failure) -> None:
        """Ends a trial that has no measurement."""
        trial.set_user_attr("failure", failure.to_json())
        self._study.tell(trial, state=TrialState.FAIL)

    def screen(self, trial: Trial, screened: Screened) -> None:
        """Ends a trial that was not built; an excess above 0 counts as a broken constraint."""
        trial.set_user_attr("screened", screened.reason)
        if screened.excess > 0:
            trial.set_constraint(screened.reason, screened.excess)
        self._study.tell(trial, state=TrialState.PRUNED)

    def evaluations(self) -> list[Evaluation]:
        """Every measured candidate, by trial number."""
        complete = (trial for trial in self.trials if trial.state == TrialState.COMPLETE)
        return [Evaluation.from_json(trial.user_attrs["evaluation"]) for trial in complete]

    def failures(self) -> list[Failure]:
        """Every failed candidate, by trial number."""
        failed = (trial for trial in self.trials if trial.state == TrialState.FAIL)
        return [Failure(**trial.user_attrs["failure"]) for trial in failed]

    def screened_count(self) -> int:
        """How many candidates were screened out."""
        return sum(trial.state == TrialState.PRUNED for trial in self.trials)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns errors of the study's file (damaged, disk full, read-only) into a RunDirectoryError."""
    try:
        yield
    except (sqlite3.Error, SQLAlchemyError, StorageInternalError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise RunDirectoryError(
            f"The study {path} cannot be used ({reason}): check the disk and its space, or start anew with --fresh."
        ) from error


def _loaded(path: Path) -> Study:
    """The study in the file, read from it, made when it is missing."""
    storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": _connector(path)})
    return optuna.create_study(
        storage=storage, study_name=_NAME, directions=["minimize"] * 3, load_if_exists=True
    )


def _correct(connection: sqlite3.Connection, trial: FrozenTrial, correction: Correction) -> None:
    """Writes a correction into Optuna's tables. RunDirectoryError when they do not hold the trial as they
    should.
    """
    for objective, value in enumerate(correction.values):
        statement = "UPDATE trial_values SET value = ? WHERE trial_id = ? AND objective = ?"
        if connection.execute(statement, (value, trial._trial_id, objective)).rowcount != 1:
            raise RunDirectoryError(
                f"The study does not hold the values of trial {trial.number}: start anew with --fresh."
            )
    first = trial.user_attrs.get("values_told_first", trial.values)
    user = {
        "values_told_first": first,
        "evaluation": correction.evaluation.to_json(),
    }  # what others wrote stays
    system = {f"constraints:{name}": excess for name, excess in correction.constraints.items()}
    for table, attributes in (("trial_user_attributes", user), ("trial_system_attributes", system)):
        statement = (
            f"INSERT INTO {table} (trial_id, key, value_json) VALUES (?, ?, ?)"
            " ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json"
        )
        rows = [(trial._trial_id, key, json.dumps(value)) for key, value in attributes.items()]
        connection.executemany(statement, rows)


def _connector(path: Path) -> Callable[[], sqlite3.Connection]:
    """Opens connections with a write-ahead log: a commit then costs no disk flush, and survives a killed
    process.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=30.0, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    return connect
