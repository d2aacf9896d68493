"""MeasurementStore: measurements in SQLite, so that nothing is measured twice."""

import json
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ..errors import RunDirectoryError
from ..files import digest_of, seal, unsealed
from ..profiles.measurement import Measurement, TimingConfig

log = logging.getLogger(__name__)

_LONGEST_REASON = 60
_DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLE = "CREATE TABLE IF NOT EXISTS measurements (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementKey:
    """What a measurement belongs to. A baseline measured beside itself has two equal digests."""

    artifact_digest: str
    baseline_digest: str
    profile_fingerprint: str
    timing: TimingConfig
    environment_fingerprint: str

    @classmethod
    def of(cls, measurement: Measurement) -> Self:
        """The key under which `measurement` is found again."""
        return cls(
            artifact_digest=measurement.artifact_digest,
            baseline_digest=measurement.baseline_digest,
            profile_fingerprint=measurement.profile_fingerprint,
            timing=measurement.timing,
            environment_fingerprint=measurement.environment.fingerprint,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        value = asdict(self)
        if self.timing.round == 1:  # younger than measurements, which stay valid
            del value["timing"]["round"]
        if not self.timing.sizes:
            del value["timing"]["sizes"]
        return digest_of(value)


def measurements_in(path: Path) -> Iterator[Measurement]:
    """All measurements of a store, in no particular order; nothing is written to it. Damaged ones are left
    out.

    RunDirectoryError when the file cannot be read.
    """
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
        ) as connection:
            for (value,) in connection.execute("SELECT value FROM measurements"):
                try:
                    yield Measurement.from_json(unsealed(value))
                except (ValueError, TypeError, KeyError) as error:
                    log.warning("%s holds a damaged measurement (%s): it is left out.", path, error)
    except sqlite3.Error as error:
        raise RunDirectoryError(
            f"The measurements in {path} cannot be read ({error}): restore the file."
        ) from error


class MeasurementStore:
    """Measurements by key in one SQLite file, made if it is missing. Several processes may use it at once.

    A file that is damaged is put aside as `NAME.damaged`, a damaged measurement is forgotten: what is missing
    is taken again. RunDirectoryError when the file cannot be read or written for another reason.
    """

    def __init__(self, path: Path):
        self.path = path
        self._execute("SELECT count(*) FROM measurements")

    def get(self, key: MeasurementKey) -> Measurement | None:
        """The measurement of `key`, or None if there is none yet."""
        row = self._execute("SELECT value FROM measurements WHERE key = ?", key.digest)
        if row is None:
            return None
        try:
            stored = Measurement.from_json(unsealed(row[0]))
            if MeasurementKey.of(stored) != key:
                raise ValueError("it belongs to another file or target")
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s holds a damaged measurement (%s): it is taken again.", self.path, error)
            self._execute("DELETE FROM measurements WHERE key = ?", key.digest)
            return None
        return stored

    def put(self, measurement: Measurement) -> Measurement:
        """The measurement that the store now holds for that key: the first one stays."""
        value = json.dumps(seal(measurement.to_json()), allow_nan=False)
        key = MeasurementKey.of(measurement)
        self._execute("INSERT OR IGNORE INTO measurements VALUES (?, ?)", key.digest, value)
        return self.get(key) or measurement

    def _execute(self, statement: str, *values: str) -> tuple[str, ...] | None:
        """The first row of a statement, committed."""
        try:
            try:
                return self._executed(statement, values)
            except sqlite3.Error as error:
                if not self._is_damaged(error):
                    raise
                aside = self.path.with_name(f"{self.path.name}.damaged")
                reason = str(error)[:_LONGEST_REASON]  # it may quote a whole measurement
                log.warning("%s is damaged (%s): it is put aside as %s.", self.path, reason, aside.name)
                self._put_aside(aside)
                return self._executed(statement, values)
        except (sqlite3.Error, OSError) as error:
            raise RunDirectoryError(
                f"The measurements in {self.path} cannot be read or written ({error}): "
                "remove the file if it is damaged, or free space on the disk."
            ) from error

    def _executed(self, statement: str, values: tuple[str, ...]) -> tuple[str, ...] | None:
        with closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
            connection.execute(_TABLE)
            row: tuple[str, ...] | None = connection.execute(statement, values).fetchone()
            return row

    def _is_damaged(self, error: sqlite3.Error) -> bool:
        """Whether it is the file's fault, not that of the disk, of rights or of another process."""
        if self.path.is_dir():
            return True
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        return code in _DAMAGE or (code == sqlite3.SQLITE_READONLY and writable)

    def _put_aside(self, aside: Path) -> None:
        for end in ("", "-journal", "-wal", "-shm"):  # a journal would be played into the new file
            beside = self.path.with_name(self.path.name + end)
            if beside.exists():
                beside.replace(aside.with_name(aside.name + end))
