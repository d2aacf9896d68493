"""RunDirectory: where a search lives, who may continue it, and what must be unchanged for that.

    run.toml         the resolved configuration; its [identity] must be unchanged for a run to be continued
    study.db         the Optuna study; measurements.db: raw measurements; artifacts/<digest>.onnx
    front.json       the result so far (`status` says how far)
    r0.jsonl         candidates of rung r0 with their KL; further.json: what was measured later on further targets
    finalists.json   what the longer measurement and the test split said; log.jsonl: events
    elapsed          seconds spent; time.json: seconds by activity; task.json: what the check of the task found
    finetuned/       points that `pick --finetune` made: 1.json, 2.json …; the checkpoint of one that was interrupted
    verify.json      what the last `verify` found; verify-unfinished.json and verify.db: one that goes on
    run.lock         held (flock) by who works on the run: `search`, `verify`, `pick --finetune`

A changed identity (task, its model or data, profile, environment …) leaves the old run alone and starts
NAME-2, NAME-3, … The environment of a further target (`NAME environment.cores` …) is missing while that
target is away; it is compared with what is known of it, and kept.
"""

import errno
import fcntl
import json
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import RunDirectoryError
from ..files import write_text
from .finetuned import FINETUNED, with_finetuned
from .formats import require_readable

NEEDED_BYTES = 64 * 1024**2
VERIFIED = "verify.json"
_CONFIGURATION = "run.toml"
_TARGETS = "target"
_SUMMARIES = frozenset({"task definition", "profile"})  # they change with others, which tell more


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run is: `identity` must be unchanged to continue (flat: name → text), `options` may change from
    call to call.
    """

    identity: Mapping[str, str]
    options: Mapping[str, Any]

    def to_toml(self) -> str:
        """The content of run.toml."""
        lines = [
            "# Written by autocompress; a run is continued only while [identity] is unchanged.",
            "",
            "[identity]",
        ]
        lines += [f"{_quoted(key)} = {_quoted(value)}" for key, value in self.identity.items()]
        lines += ["", "[options]"]
        lines += [
            f"{_quoted(key)} = {_toml(value)}" for key, value in self.options.items() if value is not None
        ]
        return "\n".join(lines) + "\n"


class RunDirectory:
    """A run directory that this process owns until it is closed. A context manager; make it with `open`."""

    def __init__(self, path: Path, lock: IO[str], *, changed: tuple[str, ...], resumed: bool):
        self.path = path
        self.changed = changed
        self.resumed = resumed
        self._lock = lock

    @classmethod
    def open(cls, path: Path, config: RunConfig, *, fresh: bool = False) -> "RunDirectory":
        """The directory at `path` when it can be continued, else a new one beside it; locked by this process.

        `changed` names what kept an existing run from being continued. Raises RunDirectoryError when somebody
        else holds it, it belongs to another task, is damaged, or cannot be written (read-only, no space).
        """
        chosen, resumed, changed = choose_run(path, config, fresh=fresh)
        _require_writable(chosen, elsewhere="give --out a directory that can be written")
        lock = _locked(chosen, by="search", remedy="wait for it, stop it, or give --out another directory")
        if not resumed:
            (chosen / "artifacts").mkdir(exist_ok=True)
        else:  # what is known of a target that is away now
            config = replace(config, identity={**_identity(chosen), **config.identity})
        write_text(chosen / _CONFIGURATION, config.to_toml())
        return cls(chosen, lock, changed=changed, resumed=resumed)

    @classmethod
    def reopen(cls, path: Path, config: RunConfig) -> "RunDirectory":
        """The existing directory at `path`, locked by this process, to add something to its run.

        RunDirectoryError when somebody else holds it, or when its identity is not that of `config`: the error
        names what changed.
        """
        if differs := _differences(path, config):
            raise RunDirectoryError(
                f"{path} was made with another {', another '.join(differs)}: restore what changed since, or search again."
            )
        return cls.hold(path, by="pick --finetune")

    @classmethod
    def hold(cls, path: Path, *, by: str) -> "RunDirectory":
        """The existing directory at `path`, whatever its identity, locked by this process; `by` tells others
        which command it is.

        RunDirectoryError when somebody else holds it, or it cannot be written.
        """
        _require_writable(path, elsewhere="make it writable")
        return cls(path, _locked(path, by=by, remedy="wait for it, or stop it"), changed=(), resumed=True)

    def learn(self, entries: Mapping[str, str]) -> tuple[str, ...]:
        """Adds entries to the identity; if some are known and differ, their names, and nothing is added."""
        stored = tomllib.loads((self.path / _CONFIGURATION).read_text(encoding="utf-8"))
        identity = stored["identity"]
        if changed := tuple(name for name, value in entries.items() if identity.get(name, value) != value):
            return changed
        config = RunConfig(identity={**identity, **entries}, options=stored["options"])
        write_text(self.path / _CONFIGURATION, config.to_toml())
        return ()

    @property
    def artifacts(self) -> Path:
        """The folder of the built artifacts."""
        return self.path / "artifacts"

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
        """Appends an event to log.jsonl."""
        line = json.dumps({"event": event, **values}, ensure_ascii=False)
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file of the directory atomically; NaN is refused (ValueError)."""
        write_text(self.path / name, json.dumps(value, ensure_ascii=False, allow_nan=False))

    def read_json(self, name: str) -> Any | None:
        """The content of a JSON file of the directory, None when it is missing. RunDirectoryError when it is
        damaged.
        """
        return read_json(self.path / name)

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()


def read_json(path: Path) -> Any | None:
    """The content of a JSON file, None when it is missing. RunDirectoryError when it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunDirectoryError(
            f"{path} cannot be read ({error}): restore it, or search again with --fresh."
        ) from error


def read_run(path: Path) -> dict[str, Any]:
    """The content of a run's front.json with its fine-tuned points (finetuned/1.json …) among the others, and
    under `verified` what the last `verify` found.

    RunDirectoryError when `path` is no run directory, has no result yet, or was made by another version.
    """
    run = read_json(path / "front.json") if path.is_dir() else None
    if run is None:
        what = "has no front.json yet" if (path / _CONFIGURATION).is_file() else "is no run directory"
        raise RunDirectoryError(
            f"{path} {what}: give the directory that `autocompress search` wrote, such as runs/NAME."
        )
    require_readable(run)
    if (verified := read_json(path / VERIFIED)) is not None:
        run = {**run, "verified": verified}
    files = sorted((path / FINETUNED).glob("*.json"), key=lambda file: int(file.stem))
    return with_finetuned(run, [dict(read_json(file) or {}) for file in files])


def choose_run(path: Path, config: RunConfig, *, fresh: bool) -> tuple[Path, bool, tuple[str, ...]]:
    """Where a search goes; whether it continues the run there; and, if not, what kept the newest one from
    being continued.

    Writes nothing. RunDirectoryError when a run belongs to another task or is damaged.
    """
    changed: tuple[str, ...] = ()
    for candidate in existing_runs(path):
        differs = _differences(candidate, config)
        if not differs and not fresh:
            return candidate, True, ()
        changed = changed or differs
    return _free(path), False, changed


def existing_runs(path: Path) -> Iterator[Path]:
    """The run directories NAME, NAME-2, … that exist, the newest first."""
    found, candidate, number = [], path, 2
    while candidate.exists():
        found.append(candidate)
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    yield from reversed([item for item in found if _is_run(item)])


def _is_run(path: Path) -> bool:
    """Whether `path` holds a run; False when it is an empty directory. RunDirectoryError for anything else."""
    if (path / _CONFIGURATION).is_file():
        return True
    leftovers = {"run.lock", "artifacts", "elapsed"}
    if path.is_dir() and all(
        item.name in leftovers or item.name.endswith(".part") for item in path.iterdir()
    ):
        return False
    raise RunDirectoryError(f"{path} exists and is no run directory: give --out another directory.")


def _free(path: Path) -> Path:
    """The first of NAME, NAME-2, … that holds no run."""
    candidate, number = path, 2
    while candidate.exists() and _is_run(candidate):
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


def _differences(path: Path, config: RunConfig) -> tuple[str, ...]:
    """Names of the identity's entries that differ from the run's. RunDirectoryError when it belongs to
    another task.
    """
    stored = _identity(path)
    if stored.get("task") != config.identity.get("task"):
        raise RunDirectoryError(
            f"The run directory {path} belongs to the task {stored.get('task')!r}, not to {config.identity.get('task')!r}: "
            "give --out another directory."
        )
    names = [*stored, *(name for name in config.identity if name not in stored)]
    changed = tuple(
        name
        for name in names
        if stored.get(name) != config.identity.get(name)
        and _is_known(name, stored)
        and _is_known(name, config.identity)
    )
    if _TARGETS in changed:  # what else differs comes of it
        return (_TARGETS,)
    specific = tuple(name for name in changed if name not in _SUMMARIES)
    return specific or changed


def _identity(path: Path) -> dict[str, str]:
    """The identity of the run in `path`. RunDirectoryError when it cannot be read."""
    try:
        return dict(tomllib.loads((path / _CONFIGURATION).read_text(encoding="utf-8"))["identity"])
    except (OSError, KeyError, ValueError) as error:
        message = (
            f"{path / _CONFIGURATION} cannot be read ({error}): restore it, or give --out another directory."
        )
        raise RunDirectoryError(message) from error


def _is_known(name: str, identity: Mapping[str, str]) -> bool:
    """Whether the identity can have this entry: nothing of the environment of a target that was away."""
    target, separator, _ = name.partition("environment.")
    return not separator or any(entry.startswith(target + separator) for entry in identity)


def _require_writable(path: Path, *, elsewhere: str) -> None:
    """Makes the directory and proves, before any work, that it can be written and has space.
    RunDirectoryError if not.
    """
    probe = path / f".probe.{os.getpid()}.part"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
        free = shutil.disk_usage(path).free
    except OSError as error:
        raise unwritable(path, error, elsewhere=elsewhere) from error
    finally:
        if probe.parent.is_dir():
            probe.unlink(missing_ok=True)
    if free < NEEDED_BYTES:
        raise RunDirectoryError(
            f"The disk of {path} has only {free // 1024**2} MB left: free {NEEDED_BYTES // 1024**2} MB."
        )


def unwritable(path: Path, error: OSError, *, elsewhere: str) -> RunDirectoryError:
    """The error that tells why `path` cannot be written; `elsewhere` is the remedy where there is space."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space and run the same command again" if full else elsewhere
    return RunDirectoryError(f"{path} cannot be written ({error.strerror or error}): {remedy}.")


def _locked(path: Path, *, by: str, remedy: str) -> IO[str]:
    """The open lock file; the lock ends with the process, however it ends. RunDirectoryError when another
    holds it.
    """
    lock = (path / "run.lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        process, _, command = lock.read().strip().partition(" ")
        lock.close()
        who = f"autocompress {command}".strip() + (f" (process {process})" if process else "")
        raise RunDirectoryError(f"{path} is in use by {who}: {remedy}.") from error
    lock.truncate(0)
    lock.write(f"{os.getpid()} {by}")
    lock.flush()
    return lock


def _toml(value: Any) -> str:
    """A TOML value: text, number, boolean or a list of these."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's, apart from DEL."""
    return json.dumps(text, ensure_ascii=True).replace("\x7f", "\\u007f")
