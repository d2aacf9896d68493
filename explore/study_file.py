"""The file of a run's study: which study in it counts, and how one is replaced by a corrected copy.

Optuna changes nothing of a trial that has ended, and a second trial beside it would leave the first one,
whose numbers look better, on every front. A correction therefore makes a copy of the study, in the same file,
in which those trials say what is known now. The copy counts once it is marked as complete; then the old study
is deleted. A process that dies in between leaves two studies, of which the next one keeps the newest that is
complete: nothing is lost at any moment.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from ..errors import RunDirectoryError

FIRST_VALUES = "values_told_first"  # user attribute of a corrected trial: what it said before
_NAME = "search"
_NAMES = re.compile(rf"{_NAME}(?:-(\d+))?")
_COMPLETE = "complete"  # user attribute of a corrected copy that has all trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a trial that has ended should say: objectives, constraints by name, and user attributes."""

    trial: int
    values: Sequence[float]
    constraints: Mapping[str, float]
    user_attrs: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A study in its SQLite file. `path` is the file."""

    path: Path
    storage: BaseStorage
    study: Study

    @classmethod
    def open(cls, path: Path) -> "StudyFile":
        """The study that counts, made when there is none; what a killed correction left is deleted.

        RunDirectoryError when another version of Optuna has made the file.
        """
        url = f"sqlite:///{path}"
        try:
            storage = RDBStorage(url, engine_kwargs={"creator": _connector(path)})
        except RuntimeError as error:  # Optuna's, of an older or newer schema
            raise RunDirectoryError(
                f"The study {path} is of another version of Optuna than {optuna.__version__}: install that "
                f"version, upgrade the file (`optuna storage upgrade --storage {url}`), or move it away, and "
                "it is made anew of front.json."
            ) from error
        names = _names(storage)
        complete = [name for name in names if name == _NAME or _is_complete(storage, name)]
        current = complete[-1] if complete else _NAME
        study = optuna.create_study(
            storage=storage, study_name=current, directions=["minimize"] * 3, load_if_exists=True
        )
        for name in names:
            if name != current:
                optuna.delete_study(study_name=name, storage=storage)
        return cls(path, storage, study)

    def trial_id(self, number: int) -> int:
        """The storage's id of a trial."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def corrected(self, corrections: Iterable[Correction]) -> "StudyFile":
        """The file with a corrected copy of the study in place of it; numbers and states of trials stay.

        All corrections or none, whenever the process dies.
        """
        changes = {correction.trial: correction for correction in corrections}

        def correct(trials: list[FrozenTrial]) -> list[FrozenTrial]:
            return [
                _corrected(trial, changes[trial.number]) if trial.number in changes else trial
                for trial in trials
            ]

        return self.rewritten(correct)

    def rewritten(self, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> "StudyFile":
        """The file with a copy of the study in place of it that has the trials which `change` returns."""
        fresh = StudyFile.open(self.path)  # what other processes wrote since is read, too
        old = fresh.study
        copy = optuna.create_study(
            storage=fresh.storage, study_name=_next_name(old.study_name), directions=old.directions
        )
        for key, value in old.user_attrs.items():
            if key != _COMPLETE:  # of a study that is a copy itself
                copy.set_user_attr(key, value)
        copy.add_trials(change(old.get_trials()))
        copy.set_user_attr(_COMPLETE, True)
        optuna.delete_study(study_name=old.study_name, storage=fresh.storage)
        copy.sampler = self.study.sampler
        return StudyFile(self.path, fresh.storage, copy)


def _names(storage: RDBStorage) -> list[str]:
    """The names of a search's studies in a file, the oldest first."""
    names = [name for name in optuna.get_all_study_names(storage) if _NAMES.fullmatch(name)]
    return sorted(names, key=_number)


def _number(name: str) -> int:
    return int(name.removeprefix(_NAME).removeprefix("-") or 1)


def _next_name(name: str) -> str:
    return f"{_NAME}-{_number(name) + 1}"


def _is_complete(storage: RDBStorage, name: str) -> bool:
    return bool(optuna.load_study(study_name=name, storage=storage).user_attrs.get(_COMPLETE))


def _corrected(trial: FrozenTrial, correction: Correction) -> FrozenTrial:
    """The trial with other values and constraints; everything else stays, what others wrote, too."""
    first = trial.user_attrs.get(FIRST_VALUES, trial.values)
    of_constraints = create_trial(state=TrialState.PRUNED, constraints=trial.constraints).system_attrs
    corrected = create_trial(
        state=trial.state,
        values=list(correction.values),
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**trial.user_attrs, FIRST_VALUES: first, **correction.user_attrs},
        system_attrs={key: value for key, value in trial.system_attrs.items() if key not in of_constraints},
        constraints=dict(correction.constraints),
    )
    corrected.datetime_start, corrected.datetime_complete = trial.datetime_start, trial.datetime_complete
    return corrected


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns errors of the study's file (damaged, disk full, read-only) into a RunDirectoryError."""
    try:
        yield
    except (sqlite3.Error, SQLAlchemyError, StorageInternalError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise RunDirectoryError(
            f"The study {path} cannot be used ({reason}): check the disk and its space, move the file away "
            "if it is damaged (it is made anew of front.json), or start anew with --fresh."
        ) from error


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
