"""OnTarget: what a candidate is on one of several targets beyond the primary one. Data only, kept inside its
Evaluation.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .records import AnyLatency, ArtifactFacts, Failure, Interval, latency_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTarget:
    """A candidate on a further target. Without a `latency` it is *missing* there, and `failure` says why.

    Everything else that was found out before the failure is kept; what was not is None.
    """

    artifact: ArtifactFacts
    validation: float | None = None
    validation_interval: Interval | None = None
    drop: float | None = None
    layers: tuple[Mapping[str, Any], ...] = ()
    latency: AnyLatency | None = None
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if (self.latency is None) == (self.failure is None):
            raise ValueError("A candidate has either a latency on a target, or a failure that says why not.")
        if self.latency is not None and (self.validation is None or self.drop is None):
            raise ValueError("A candidate that was measured on a target has a metric there.")

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        latency = None if self.latency is None else self.latency.to_json()
        return {**asdict(self), "layers": [dict(row) for row in self.layers], "latency": latency}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "OnTarget":
        """The record that `to_json` described."""
        interval, latency, failure = value["validation_interval"], value["latency"], value["failure"]
        records = {
            "artifact": ArtifactFacts(**value["artifact"]),
            "validation_interval": None if interval is None else (interval[0], interval[1]),
            "layers": tuple(value["layers"]),
            "latency": None if latency is None else latency_from_json(latency),
            "failure": None if failure is None else Failure(**failure),
        }
        return cls(**{**value, **records})
