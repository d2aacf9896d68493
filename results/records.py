"""Latency, Predicted, ArtifactFacts, Answers and Failure: what evaluations are made of. Data only."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..compress.artifact import Artifact
from ..errors import StageError
from ..profiles import Measurement, PredictedLatency

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

    @property
    def seconds(self) -> float:
        """Seconds per inference, for whoever compares latencies of both kinds."""
        return self.latency_s

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `latency_from_json` makes an equal latency."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Latency":
        """The latency that `asdict` described, intervals as tuples."""
        intervals = {key: (value[key][0], value[key][1]) for key in ("interval_s", "ratio_interval")}
        return cls(**{**value, **intervals})


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """A latency that was computed, not measured; `ratio` is relative to the original's, predicted in the same
    way.

    It has no interval: `error` is what the source's predictions were off by (median, relative) where that was
    seen, else None. Its JSON shares no key with that of a measured latency: no reader can take one for the
    other.
    """

    latency: PredictedLatency
    ratio: float
    error: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds per inference, for whoever compares latencies of both kinds."""
        return self.latency.seconds

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        return self.latency.source

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `latency_from_json` makes an equal latency."""
        numbers = {"predicted_s": self.seconds, "predicted_ratio": self.ratio}
        return {**numbers, "source": self.source, "error": self.error}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Predicted":
        """The prediction that `to_json` described."""
        latency = PredictedLatency(seconds=value["predicted_s"], source=value["source"])
        return cls(latency=latency, ratio=value["predicted_ratio"], error=value["error"])


AnyLatency = Latency | Predicted


def latency_from_json(value: Mapping[str, Any]) -> AnyLatency:
    """The measured or predicted latency that `to_json` described."""
    return Predicted.from_json(value) if "predicted_s" in value else Latency.from_json(value)


def overlap(first: AnyLatency, second: AnyLatency) -> bool:
    """Whether the intervals of two measured latencies overlap; a prediction has none, so it overlaps with
    nothing.
    """
    if isinstance(first, Predicted) or isinstance(second, Predicted):
        return False
    (low_1, high_1), (low_2, high_2) = first.ratio_interval, second.ratio_interval
    return low_1 <= high_2 and low_2 <= high_1


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
    """What an artifact answers in a runtime: its metric, and the rows of its layers with the precision that
    they ran in.
    """

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
        return cls(
            trial=trial, stage=error.stage, kind=error.kind, message=str(error), retryable=error.retryable
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)
