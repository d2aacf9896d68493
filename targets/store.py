"""MeasurementStore: measurements in SQLite, so that nothing is measured twice."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ..errors import RunDirectoryError
from ..files import digest_of
from ..profiles.measurement import Measurement, TimingConfig

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
        return digest_of(asdict(self))


class MeasurementStore:
    """Measurements by key in one SQLite file, made if it is missing. Several processes may use it at once."""

    def __init__(self, path: Path):
        self.path = path
        with self._connected() as connection:
            connection.execute(_TABLE)

    def get(self, key: MeasurementKey) -> Measurement | None:
        """The measurement of `key`, or None if there is none yet. RunDirectoryError if the file is
        damaged.
        """
        with self._connected() as connection:
            row = connection.execute("SELECT value FROM measurements WHERE key = ?", (key.digest,)).fetchone()
        if row is None:
            return None
        try:
            return Measurement.from_json(json.loads(row[0]))
        except (ValueError, TypeError, KeyError) as error:
            raise RunDirectoryError(
                f"{self.path} holds a damaged measurement ({error}): remove the file."
            ) from error

    def put(self, measurement: Measurement) -> Measurement:
        """The measurement that the store now holds for that key: the first one stays."""
        value = json.dumps(measurement.to_json(), allow_nan=False)
        key = MeasurementKey.of(measurement)
        with self._connected() as connection:
            connection.execute("INSERT OR IGNORE INTO measurements VALUES (?, ?)", (key.digest, value))
        stored = self.get(key)
        assert stored is not None
        return stored

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection whose transaction is committed on success."""
        try:
            connection = sqlite3.connect(self.path, timeout=30)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise RunDirectoryError(
                f"The measurements in {self.path} cannot be read or written ({error}): "
                "remove the file if it is damaged, or free space on the disk."
            ) from error
