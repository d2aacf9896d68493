"""Latency, ArtifactFacts, Answers and Failure: what evaluations are made of. Data only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..compress.artifact import Artifact
from ..errors import StageError
from ..profiles import Measurement

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A measured latency in numbers; its raw blocks stay in the run's measurement store."""

    latency_s: float
    interval_s: Interval
    ratio: float
    ratio_interval: Interval
    p50_s: float
    p90_s: float
    p99_s: float
    noisy: bool
    timer: str
    pairs: int
    peak_memory_bytes: int | None

    @classmethod
    def of(cls, measurement: Measurement) -> "Latency":
        """The numbers of a measurement."""
        return cls(
            latency_s=measurement.latency_s,
            interval_s=measurement.latency_interval_s,
            ratio=measurement.ratio,
            ratio_interval=measurement.ratio_interval,
            p50_s=measurement.p50_s,
            p90_s=measurement.p90_s,
            p99_s=measurement.p99_s,
            noisy=measurement.noisy,
            timer=measurement.timer,
            pairs=len(measurement.pairs),
            peak_memory_bytes=measurement.peak_memory_bytes,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Latency":
        """The latency that `asdict` described, intervals as tuples."""
        intervals = {key: (value[key][0], value[key][1]) for key in ("interval_s", "ratio_interval")}
        return cls(**{**value, **intervals})


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFacts:
    """What is kept of an artifact: the file relative to the run directory, and its numbers."""

    file: str
    digest: str
    size_bytes: int
    macs: int
    parameters: int

    @classmethod
    def of(cls, artifact: Artifact) -> "ArtifactFacts":
        """The facts of an artifact in the run directory's folder `artifacts`."""
        return cls(
            file=f"artifacts/{artifact.path.name}",
            digest=artifact.digest,
            size_bytes=artifact.size_bytes,
            macs=artifact.macs,
            parameters=artifact.parameters,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What an artifact answers in a runtime: its metric, and the rows of its layers with the precision that they ran in."""

    validation: float
    interval: Interval | None
    layers: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A candidate that could not be measured: where and why."""

    trial: int
    stage: str
    kind: str
    message: str
    retryable: bool

    @classmethod
    def of(cls, error: StageError, *, trial: int) -> "Failure":
        """The record of a stage's error."""
        return cls(trial=trial, stage=error.stage, kind=error.kind, message=str(error), retryable=error.retryable)

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)
