"""Unfinished: what an interrupted `verify RUN` has measured (verify-unfinished.json). The next call
continues from it.

It counts for the same targets and the same user only. What belongs to others, or to an older format, is
removed together with its measurements (verify.db), which would answer for new ones.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..files import seal, write_text
from ..profiles import Environment
from ..results.records.facts import environment_from
from ..results.records.latency import Latency
from ..results.records.reading import Fields
from ..results.run_directory import read_record
from ..text.printable import json_text

FILE, STORE = "verify-unfinished.json", "verify.db"
SCHEMA_VERSION = 2  # 1 had no number
_REMEDY = "remove it, and `verify` measures everything again"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileNow:
    """A file on the target now: its latency, and its metric where it was scored; or why it cannot be run."""

    latency: Latency | None = None
    quality: float | None = None
    failure: str | None = None

    def __post_init__(self) -> None:
        if (self.latency is None) == (self.failure is None):
            raise ValueError("there must be either a latency, or a failure that says why there is none.")

    @classmethod
    def from_json(cls, fields: Fields) -> "FileNow":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                latency=fields.maybe("latency", lambda key: Latency.from_json(fields.object(key))),
                quality=fields.maybe("quality", fields.number),
                failure=fields.maybe("failure", fields.text),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetNow:
    """What was measured on one target, by the digest of each file; `at` is the time of the last one.

    `key` stands for what must be the same for a later call to go on: profile, batch, with a metric or not.
    """

    key: str
    environment: Environment
    at: str
    files: Mapping[str, FileNow] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return {**asdict(self), "environment": self.environment.to_json()}

    @classmethod
    def from_json(cls, fields: Fields) -> "TargetNow":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                key=fields.text("key"),
                environment=environment_from(fields.object("environment")),
                at=fields.text("at"),
                files=fields.each("files", lambda entries, name: FileNow.from_json(entries.object(name))),
            )
        )


class Unfinished:
    """What a call has measured so far, by target. Every change is written to the run directory."""

    def __init__(self, path: Path, asked: tuple[str, ...], targets: Mapping[str, TargetNow]):
        self._path = path
        self._asked = asked
        self._targets = dict(targets)

    @classmethod
    def open(cls, path: Path, asked: Iterable[str]) -> "Unfinished":
        """What an earlier call on the same targets left in the run directory `path`, else an empty record.

        RunDirectoryError when the file is damaged.
        """
        names = tuple(asked)
        stored = read_record(path / FILE, _content, remedy=_REMEDY)
        if stored is not None and stored[0] == names:
            return cls(path, *stored)
        remove(path)
        return cls(path, names, {})

    def target(self, name: str, key: str, environment: Environment) -> TargetNow:
        """What was measured on a target; nothing yet where the key or the environment is another."""
        stored = self._targets.get(name)
        if stored and stored.key == key and stored.environment.fingerprint == environment.fingerprint:
            return stored
        return TargetNow(key=key, environment=environment, at=now())

    def complete(self, name: str, key: str, digests: Iterable[str]) -> TargetNow | None:
        """What was measured on a target, when it has all these files; else None."""
        stored = self._targets.get(name)
        whole = stored is not None and stored.key == key and set(digests) <= stored.files.keys()
        return stored if whole else None

    def keep(self, name: str, measured: TargetNow) -> None:
        """Keeps what was measured on a target, on disk."""
        self._targets[name] = measured
        value = {
            "schema_version": SCHEMA_VERSION,
            "asked": list(self._asked),
            "targets": {target: each.to_json() for target, each in self._targets.items()},
        }
        write_text(self._path / FILE, json_text(seal(value), indent=2))


def _content(fields: Fields) -> tuple[tuple[str, ...], dict[str, TargetNow]] | None:
    """The targets that were asked for, and what was measured; None of an older format."""
    if not fields.has("schema_version"):
        return None
    fields.choice("schema_version", (SCHEMA_VERSION,))
    return fields.sealed(
        lambda same: same.record(
            lambda: (
                same.texts("asked"),
                same.each("targets", lambda entries, name: TargetNow.from_json(entries.object(name))),
            )
        )
    )


def remove(path: Path) -> None:
    """Removes what an unfinished call left in the run directory."""
    for name in (FILE, STORE):
        (path / name).unlink(missing_ok=True)


def now() -> str:
    """The time in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
