"""Evaluation and Failure: what came of a candidate. Data only, kept as JSON in the study."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..compress.recipe import Recipe, executes_as
from ..errors import StageError
from ..profiles import Measurement

Interval = tuple[float, float]
SCHEMA_VERSION = 1


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A measured candidate. `validation` is the metric of the built artifact, `drop` its loss against the original.

    `layers` are rows of front.json, `elapsed_s` the run's time when it was finished, `seconds` what it cost by stage.
    """

    trial: int
    recipe: Recipe
    artifact: ArtifactFacts
    validation: float
    validation_interval: Interval | None
    drop: float
    latency: Latency
    layers: tuple[Mapping[str, Any], ...]
    elapsed_s: float
    seconds: Mapping[str, float] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def warnings(self) -> list[str]:
        """One sentence for each layer that ran in another precision than asked; few stored bits that ran in int8 did."""
        return [
            f"asked {row['precision_asked']}, ran {row['precision_executed']}: {row['name']}"
            for row in self.layers
            if row["precision_executed"] not in (None, executes_as(row["precision_asked"]))
        ]

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal evaluation."""
        value = {name: getattr(self, name) for name in ("trial", "validation", "drop", "elapsed_s", "schema_version")}
        interval = None if self.validation_interval is None else list(self.validation_interval)
        return {
            **value,
            "validation_interval": interval,
            "recipe": self.recipe.to_json(),
            "artifact": asdict(self.artifact),
            "latency": asdict(self.latency),
            "layers": [dict(row) for row in self.layers],
            "seconds": dict(self.seconds),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Evaluation":
        """The evaluation that `to_json` described."""
        interval = value["validation_interval"]
        records = {
            "recipe": Recipe.from_json(value["recipe"]),
            "artifact": ArtifactFacts(**value["artifact"]),
            "latency": Latency.from_json(value["latency"]),
            "layers": tuple(value["layers"]),
            "validation_interval": None if interval is None else (interval[0], interval[1]),
        }
        return cls(**{**value, **records})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """A candidate that was not built: `reason` is duplicate, size, latency or time; `excess` > 0 tells a sampler how far off.

    `excess` is relative to the limit, 0 where nothing is to be learned from it.
    """

    reason: str
    message: str
    excess: float = 0.0
