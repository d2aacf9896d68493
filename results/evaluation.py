"""Evaluation: what came of a candidate that was measured. Data only, kept as JSON in the study."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..compress.recipe import Recipe, executes_as
from .on_target import OnTarget
from .records import AnyLatency, ArtifactFacts, Failure, Interval, Latency, Predicted, latency_from_json

__all__ = [
    "AnyLatency",
    "ArtifactFacts",
    "Evaluation",
    "Failure",
    "Interval",
    "Latency",
    "OnTarget",
    "Predicted",
    "Screened",
]
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A measured candidate; its latency may be predicted. `validation` is the metric of the built artifact,
    `drop` its loss against the original.

    `layers` are rows of front.json, `elapsed_s` the run's time when it was finished, `seconds` what it cost
    by stage. With several targets all of this is on the primary one, and `further` says what it is on the
    others, by their names.
    """

    trial: int
    recipe: Recipe
    artifact: ArtifactFacts
    validation: float
    validation_interval: Interval | None
    drop: float
    latency: AnyLatency
    layers: tuple[Mapping[str, Any], ...]
    elapsed_s: float
    seconds: Mapping[str, float] = field(default_factory=dict)
    further: Mapping[str, OnTarget] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def warnings(self) -> list[str]:
        """One sentence for each layer that ran in another precision than asked; few stored bits that ran in
        int8 did.
        """
        return [
            f"asked {row['precision_asked']}, ran {row['precision_executed']}: {row['name']}"
            for row in self.layers
            if row["precision_executed"] not in (None, executes_as(row["precision_asked"]))
        ]

    def on(self, target: str | None) -> "Evaluation | None":
        """The evaluation as a search for this target alone would have it; None when it has no latency there.

        None as `target` is the primary one.
        """
        if target is None:
            return replace(self, further={}) if self.further else self
        seen = self.further.get(target)
        if seen is None or seen.latency is None:
            return None
        assert seen.validation is not None and seen.drop is not None
        return replace(
            self,
            artifact=seen.artifact,
            validation=seen.validation,
            validation_interval=seen.validation_interval,
            drop=seen.drop,
            latency=seen.latency,
            layers=seen.layers,
            further={},
        )

    @property
    def missing(self) -> list[str]:
        """The further targets on which it has no latency."""
        return [name for name, seen in self.further.items() if seen.latency is None]

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal evaluation."""
        value = {
            name: getattr(self, name)
            for name in ("trial", "validation", "drop", "elapsed_s", "schema_version")
        }
        interval = None if self.validation_interval is None else list(self.validation_interval)
        return {
            **value,
            "validation_interval": interval,
            "recipe": self.recipe.to_json(),
            "artifact": asdict(self.artifact),
            "latency": self.latency.to_json(),
            "layers": [dict(row) for row in self.layers],
            "seconds": dict(self.seconds),
            "further": {name: seen.to_json() for name, seen in self.further.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Evaluation":
        """The evaluation that `to_json` described."""
        interval = value["validation_interval"]
        records = {
            "recipe": Recipe.from_json(value["recipe"]),
            "artifact": ArtifactFacts(**value["artifact"]),
            "latency": latency_from_json(value["latency"]),
            "layers": tuple(value["layers"]),
            "validation_interval": None if interval is None else (interval[0], interval[1]),
            "further": {name: OnTarget.from_json(seen) for name, seen in value.get("further", {}).items()},
        }
        return cls(**{**value, **records})


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """A candidate that was not built: `reason` is duplicate, size, latency or time; `excess` > 0 tells a
    sampler how far off.

    `excess` is relative to the limit, 0 where nothing is to be learned from it.
    """

    reason: str
    message: str
    excess: float = 0.0
