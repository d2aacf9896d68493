"""RunDirectory: where a search lives, who may continue it, and what must be unchanged for that.

    run.toml         the resolved configuration; its [identity] must be unchanged for a run to be continued
    study.db         the Optuna study; measurements.db: raw measurements; artifacts/<digest>.onnx (.tflite)
    front.json       the result so far (`status` says how far)
    r0.jsonl         candidates of rung r0 with their KL; caught_up.json: what was measured later
    finalists.json   what the longer measurement and the test split said; log.jsonl: events
    elapsed          seconds spent; time.json: seconds by activity; task.json: what the task's check says
    finetuned/       points of `pick --finetune`: 1.json, 2.json …; the checkpoint of an interrupted one
    verify.json      what the last `verify` found; verify-unfinished.json and verify.db: one that goes on
    statistics/      how calibration inputs, and each artifact's answers are distributed, for `drift`
    crash.txt        while a search goes on, and after one that ended by a fatal signal: what it did then
    run.lock         held (flock) by who works on the run: `search`, `verify`, `pick --finetune`

A changed identity (task, its model or data, profile, environment …) leaves the old run alone and starts
NAME-2, NAME-3, … The environment of a target that is away (`NAME environment.cores` …) is missing meanwhile;
what is known of it stays, and is compared when the target is back.

run_config.py reads and writes run.toml, run_files.py front.json and its companions, run_lock.py has the lock.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import RunDirectoryError
from ..files import require_closed, write_text
from ..scratch import sweep_parts
from ..text.printable import json_text
from ..text.secrets import without_secrets
from .run_config import CONFIGURATION, RunConfig
from .run_files import (
    FINETUNED,
    VERIFIED,
    read_front,
    read_json,
    read_kept,
    read_record,
    read_run,
    write_finetuned,
    write_kept,
    write_run,
    write_verification,
)
from .run_lock import disk_errors, locked, require_writable, unwritable

__all__ = [
    "FINETUNED",
    "VERIFIED",
    "RunConfig",
    "RunDirectory",
    "choose_run",
    "disk_errors",
    "existing_runs",
    "read_front",
    "read_json",
    "read_kept",
    "read_record",
    "read_run",
    "unwritable",
    "write_finetuned",
    "write_kept",
    "write_run",
    "write_verification",
]


class RunDirectory:
    """A run directory that this process owns until it is closed. A context manager; make it with `open`.

    What a killed process left half-written in it is removed.
    """

    def __init__(self, path: Path, lock: IO[str], *, changed: tuple[str, ...], resumed: bool):
        self.path = path
        self.changed = changed
        self.resumed = resumed
        self._lock = lock
        for folder in (path, self.artifacts, self.cache, path / FINETUNED):
            sweep_parts(folder)
        shutil.rmtree(self.inputs, ignore_errors=True)

    @classmethod
    def open(cls, path: Path, config: RunConfig, *, fresh: bool = False) -> "RunDirectory":
        """The directory at `path` when it can be continued, else a new one beside it; locked by this process.

        `changed` names what kept an existing run from being continued. Raises RunDirectoryError when somebody
        else holds it, it belongs to another task, is damaged, or cannot be written (read-only, no space).
        """
        chosen, resumed, changed = choose_run(path, config, fresh=fresh)
        require_writable(chosen, elsewhere="give --out a directory that can be written")
        lock = locked(chosen, by="search", remedy="wait for it, stop it, or give --out another directory")
        if not resumed:
            (chosen / "artifacts").mkdir(exist_ok=True)
        else:  # what is known of a target that is away now
            config = replace(config, identity={**RunConfig.read(chosen).identity, **config.identity})
        write_text(chosen / CONFIGURATION, config.to_toml())
        return cls(chosen, lock, changed=changed, resumed=resumed)

    @classmethod
    def reopen(cls, path: Path, config: RunConfig) -> "RunDirectory":
        """The existing directory at `path`, locked by this process, to add something to its run.

        RunDirectoryError when somebody else holds it, or when its identity is not that of `config`: the error
        names what changed.
        """
        if differs := RunConfig.read(path).differences(config):
            raise RunDirectoryError(
                f"{path} was made with another {', another '.join(differs)}: "
                "restore what changed since, or search again."
            )
        return cls.hold(path, by="pick --finetune")

    @classmethod
    def hold(cls, path: Path, *, by: str) -> "RunDirectory":
        """The existing directory at `path`, whatever its identity, locked by this process; `by` tells others
        which command it is.

        RunDirectoryError when somebody else holds it, or it cannot be written; InputError when something in
        it leads out of it.
        """
        require_closed(path)
        require_writable(path, elsewhere="make it writable")
        return cls(path, locked(path, by=by, remedy="wait for it, or stop it"), changed=(), resumed=True)

    def learn(self, entries: Mapping[str, str]) -> tuple[str, ...]:
        """Adds entries to the identity; if some are known and differ, their names, and nothing is added."""
        stored = RunConfig.read(self.path)
        if changed := tuple(
            name for name, value in entries.items() if stored.identity.get(name, value) != value
        ):
            return changed
        config = replace(stored, identity={**stored.identity, **entries})
        write_text(self.path / CONFIGURATION, config.to_toml())
        return ()

    @property
    def artifacts(self) -> Path:
        """The folder of the built artifacts."""
        return self.path / "artifacts"

    @property
    def cache(self) -> Path:
        """The folder of the checks that recoveries beside the search hand over; nothing else makes it."""
        return self.path / "cache"

    @property
    def inputs(self) -> Path:
        """The folder of the splits that workers read, of one session."""
        return self.path / "inputs"

    @property
    def study(self) -> Path:
        """The Optuna study's SQLite file."""
        return self.path / "study.db"

    @property
    def measurements(self) -> Path:
        """The measurement store's SQLite file."""
        return self.path / "measurements.db"

    @property
    def elapsed(self) -> Path:
        """The clock's file."""
        return self.path / "elapsed"

    def log(self, event: str, **values: Any) -> None:
        """Appends an event to log.jsonl, its messages without secrets."""
        texts = {name: without_secrets(value) for name, value in values.items() if isinstance(value, str)}
        line = json.dumps({"event": event, **values, **texts})
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file of the directory atomically; NaN is refused (ValueError)."""
        write_text(self.path / name, json_text(value))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The object in a JSON file of the directory, None when it is missing. RunDirectoryError when it is
        damaged.
        """
        return read_json(self.path / name)

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()


def choose_run(path: Path, config: RunConfig, *, fresh: bool) -> tuple[Path, bool, tuple[str, ...]]:
    """Where a search goes; whether it continues the run there; and, if not, what kept the newest one from
    being continued.

    Writes nothing. RunDirectoryError when a run belongs to another task or is damaged.
    """
    changed: tuple[str, ...] = ()
    for candidate in existing_runs(path):
        stored = RunConfig.read(candidate)
        _require_task(candidate, stored, config)
        differs = stored.differences(config)
        if not differs and not fresh:
            return candidate, True, ()
        changed = changed or differs
    return _free(path), False, changed


def existing_runs(path: Path) -> Iterator[Path]:
    """The run directories NAME, NAME-2, … that exist, the newest first."""
    directories, candidate, number = [], path, 2
    while candidate.exists():
        directories.append(candidate)
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    yield from reversed([directory for directory in directories if _is_run(directory)])


def _is_run(path: Path) -> bool:
    """Whether `path` holds a run; False for an empty directory. RunDirectoryError for anything else,
    InputError when something in it leads out of it.
    """
    run, leftovers = (path / CONFIGURATION).is_file(), {"run.lock", "artifacts", "elapsed"}
    if not run and not (
        path.is_dir()
        and all(entry.name in leftovers or entry.name.endswith(".part") for entry in path.iterdir())
    ):
        raise RunDirectoryError(f"{path} exists and is no run directory: give --out another directory.")
    require_closed(path)
    return run


def _free(path: Path) -> Path:
    """The first of NAME, NAME-2, … that holds no run."""
    candidate, number = path, 2
    while candidate.exists() and _is_run(candidate):
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


def _require_task(path: Path, stored: RunConfig, config: RunConfig) -> None:
    """RunDirectoryError when the run belongs to another task."""
    task, asked = stored.identity.get("task"), config.identity.get("task")
    if task != asked:
        raise RunDirectoryError(
            f"The run directory {path} belongs to the task {task!r}, not to {asked!r}: "
            "give --out another directory."
        )
