"""LatencyTable: what was measured on one device, kept for later runs, and what of it holds for other models.

One JSON file per device, that is per profile and environment: `latency/<digest>.json` in a folder that the
caller gives. Observations are grouped by *structure*, a digest of the model's layers: a candidate is any JSON
value that the caller can read again, its ratio is relative to the original model, whose seconds are kept
beside it. *Coefficients*, by the name of a feature, are what the observations of one structure say about the
device: another model starts from them (`explore/latency/model.py` makes and reads them).

Several processes may write: each merges what it has into the file under a lock. A damaged file is started
again; `note` says so.
"""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..files import DIGEST, canonical_json, digest_of, json_object, read_text, seal, unsealed, write_text
from ..scratch import sweep_parts
from .environment import Environment

SCHEMA_VERSION = 2
UNSEALED = 1  # a version that had no digest
MOST_OBSERVATIONS = 500  # of one structure; the oldest go


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A candidate's measured latency ratio, its relative 95 % half-width, and when it was measured (Unix
    seconds).

    `reference_s` is the original's latency beside it; None where an earlier version did not keep it.
    """

    candidate: Any
    ratio: float
    half_width: float
    at: float
    reference_s: float | None = None

    def __post_init__(self) -> None:
        if not (
            self.ratio > 0
            and math.isfinite(self.ratio)
            and self.half_width >= 0
            and math.isfinite(self.half_width)
        ):
            raise ValueError(
                f"A ratio is positive and its half-width is not negative: {self.ratio}, {self.half_width}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """What one unit of a feature costs, and its standard deviation, in any unit that all coefficients of a
    structure share.
    """

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.deviation) and self.deviation >= 0):
            raise ValueError(f"A coefficient is finite: {self.mean}, {self.deviation}")


@dataclass(slots=True)
class _Structure:
    """What is known of one model."""

    observations: list[Observation] = field(default_factory=list)
    coefficients: dict[str, Coefficient] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "_Structure":
        """What `asdict` made a JSON value of."""
        return cls(
            observations=[Observation(**fields) for fields in value["observations"]],
            coefficients={name: Coefficient(**fields) for name, fields in value["coefficients"].items()},
        )


class LatencyTable:
    """The table of one device. `path` None keeps it in memory only.

    `device` says which one, in JSON: the keys `profile` (its fingerprint) and `environment`; empty where
    nobody said.
    """

    def __init__(self, path: Path | None = None, *, device: Mapping[str, object] | None = None):
        self.path = path
        self.device: Mapping[str, Any] = device or {}
        self.note = ""
        self._structures: dict[str, _Structure] = self._read() if path else {}

    @classmethod
    def of_device(cls, folder: Path, *, profile_fingerprint: str, environment: Environment) -> "LatencyTable":
        """The table of a device in `folder`, empty when there is none yet."""
        path = folder / f"{digest_of([profile_fingerprint, environment.fingerprint])}.json"
        return cls(path, device={"profile": profile_fingerprint, "environment": environment.to_json()})

    @classmethod
    def of_profile(cls, folder: Path, *, profile_fingerprint: str) -> "list[LatencyTable]":
        """The tables of all devices that were measured with this profile; what cannot be read is left out."""
        tables = []
        for path in sorted(folder.glob("*.json")):
            try:
                device = _content(path)["device"]
                if device["profile"] == profile_fingerprint:
                    tables.append(cls(path, device=device))
            except (OSError, ValueError, TypeError, KeyError):
                continue
        return tables

    def copy(self) -> "LatencyTable":
        """The same in memory only: what is added to it is never taken for a measurement of the device."""
        other = LatencyTable(device=self.device)
        other._structures = {
            name: _Structure(observations=list(model.observations), coefficients=dict(model.coefficients))
            for name, model in self._structures.items()
        }
        return other

    def observations(self, structure: str) -> tuple[Observation, ...]:
        """The observations of a structure, the oldest first."""
        return tuple(self._structures.get(structure, _Structure()).observations)

    def coefficients(self, structure: str) -> Mapping[str, Coefficient] | None:
        """What another structure has told about the device: the one with most observations, the given one
        aside.
        """
        models = [model for name, model in self._structures.items() if name != structure]
        fitted = [model for model in models if model.coefficients]
        return max(fitted, key=lambda model: len(model.observations)).coefficients if fitted else None

    def observe(
        self,
        structure: str,
        candidate: Any,
        ratio: float,
        half_width: float,
        *,
        reference_s: float | None = None,
    ) -> Observation:
        """Notes a measurement taken now, in the file, too."""
        observation = Observation(
            candidate=candidate, ratio=ratio, half_width=half_width, at=time.time(), reference_s=reference_s
        )
        self._structures.setdefault(structure, _Structure()).observations.append(observation)
        self._save()
        return observation

    def tell(self, structure: str, coefficients: Mapping[str, Coefficient]) -> None:
        """Notes what the observations of a structure say about the device."""
        self._structures.setdefault(structure, _Structure()).coefficients = dict(coefficients)
        self._save(fitted=structure)

    def describe(self) -> str:
        """How much it holds and where: `41 measurements of 2 models in /home/…/latency/ab12….json`."""
        count = sum(len(model.observations) for model in self._structures.values())
        models = len(self._structures)
        where = f"in {self.path}" if self.path else "in memory only"
        return f"{count} measurement{'s' * (count != 1)} of {models} model{'s' * (models != 1)} {where}"

    def _save(self, fitted: str = "") -> None:
        """Merges with what the file holds by now, and writes. Of the coefficients only those of the structure
        `fitted` are newer here.
        """
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            sweep_parts(self.path.parent)
            with _locked(self.path.with_suffix(".lock")):
                for name, stored in self._read().items():
                    self._merge(name, stored, keep_coefficients=name == fitted)
                self._write(self.path)
        except OSError as error:  # a full disk, a read-only folder: the table is for this process only
            self.note = f"The latency table cannot be kept in {self.path}: {error}."
            self.path = None

    def _merge(self, name: str, stored: _Structure, *, keep_coefficients: bool) -> None:
        model = self._structures.setdefault(name, _Structure())
        both = [*stored.observations, *model.observations]
        distinct = {canonical_json(asdict(observation)): observation for observation in both}
        model.observations = sorted(distinct.values(), key=lambda observation: observation.at)
        if stored.coefficients and not keep_coefficients:
            model.coefficients = stored.coefficients

    def _read(self) -> dict[str, _Structure]:
        """What the file holds; nothing, and a note, when it is damaged or of another version."""
        if self.path is None or not self.path.is_file():
            return {}
        try:
            content = _content(self.path)
            return {name: _Structure.from_json(value) for name, value in content["structures"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.note = f"The latency table {self.path} cannot be read ({error}): it is started again."
            return {}

    def _write(self, path: Path) -> None:
        for model in self._structures.values():
            del model.observations[:-MOST_OBSERVATIONS]
        structures = {name: asdict(model) for name, model in self._structures.items()}
        content = {"schema_version": SCHEMA_VERSION, "device": dict(self.device), "structures": structures}
        write_text(path, json.dumps(seal(content), allow_nan=False))


def _content(path: Path) -> dict[str, Any]:
    """What a file holds. OSError, ValueError, TypeError or KeyError when it is damaged or of another
    version.
    """
    text = read_text(path)
    try:
        content = unsealed(text)
    except ValueError:
        content = json_object(text)
        if content["schema_version"] != UNSEALED or DIGEST in content:
            raise
    if content["schema_version"] not in (UNSEALED, SCHEMA_VERSION):
        raise ValueError(f"schema version {content['schema_version']}")
    return content


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock file; without file locks (Windows) two processes may lose each other's last
    measurement.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows
        yield
        return
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
