"""Verification: what `verify RUN` measured on each target, beside what the run says. verify.json holds it."""

from dataclasses import asdict, dataclass
from typing import Any

from ...profiles import Environment
from ...profiles.regression import PredictionError
from .facts import Prediction, environment_from
from .latency import AnyLatency, Latency, latency_from_json
from .point import Quality
from .reading import Fields

SCHEMA_VERSION = 3  # of verify.json


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPoint:
    """A point then and now. `earlier` and `quality` are what the run says of it.

    `latency` and `validation` are what was measured now, None where nothing was. `breaks` names limits that
    held and are broken now, `regressed` says in words what is worse.
    """

    trial: int
    label: str
    earlier: AnyLatency
    quality: Quality
    latency: Latency | None
    validation: float | None
    breaks: tuple[str, ...] = ()
    regressed: tuple[str, ...] = ()

    @property
    def error(self) -> float | None:
        """The earlier latency relative to the measured one, minus 1."""
        return None if self.latency is None else self.earlier.seconds / self.latency.seconds - 1

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        latency = None if self.latency is None else self.latency.to_json()
        return {**asdict(self), "earlier": self.earlier.to_json(), "latency": latency}

    @classmethod
    def from_json(cls, fields: Fields) -> "VerifiedPoint":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                trial=fields.whole("trial", least=-(10**9)),
                label=fields.text("label"),
                earlier=latency_from_json(fields.object("earlier")),
                quality=Quality.from_json(fields.object("quality")),
                latency=fields.maybe("latency", lambda key: Latency.from_json(fields.object(key))),
                validation=fields.maybe("validation", fields.number),
                breaks=fields.texts("breaks"),
                regressed=fields.texts("regressed"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetVerification:
    """What was measured on one target. `earlier_target` is the run's target that it is compared with.

    `prediction` says how that one's latencies were predicted, None where they were measured.
    `quality_not_verified` says why no metric was computed.
    """

    at: str
    target: str
    address: str
    profile_fingerprint: str
    environment: Environment
    earlier_target: str
    prediction: Prediction | None
    batch: int
    points: tuple[VerifiedPoint, ...]
    quality_not_verified: str | None = None

    @property
    def regressed(self) -> bool:
        """Whether any point is worse than the run says."""
        return any(point.regressed for point in self.points)

    @property
    def prediction_error(self) -> PredictionError:
        """How far the earlier latencies are from those measured now."""
        pairs = [(p.earlier.seconds, p.latency.seconds) for p in self.points if p.latency is not None]
        return PredictionError.of([earlier for earlier, _ in pairs], [now for _, now in pairs])

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return {
            **asdict(self),
            "environment": self.environment.to_json(),
            "points": [point.to_json() for point in self.points],
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "TargetVerification":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                at=fields.text("at"),
                target=fields.text("target"),
                address=fields.text("address"),
                profile_fingerprint=fields.text("profile_fingerprint"),
                environment=environment_from(fields.object("environment")),
                earlier_target=fields.text("earlier_target"),
                prediction=fields.maybe("prediction", lambda key: Prediction.from_json(fields.object(key))),
                batch=fields.whole("batch", least=1),
                points=tuple(VerifiedPoint.from_json(item) for item in fields.objects("points")),
                quality_not_verified=fields.maybe("quality_not_verified", fields.text),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AwayTarget:
    """A target that could not be used, and why."""

    name: str
    address: str
    reason: str

    @classmethod
    def from_json(cls, fields: Fields) -> "AwayTarget":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                name=fields.text("name"), address=fields.text("address"), reason=fields.text("reason")
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What one call of `verify` measured on all its targets."""

    at: str
    targets: tuple[TargetVerification, ...]
    away: tuple[AwayTarget, ...] = ()

    @property
    def regressed(self) -> bool:
        """Whether anything is worse than the run says."""
        return any(target.regressed for target in self.targets)

    def to_json(self) -> dict[str, Any]:
        """The value of verify.json, from which `from_json` makes an equal record."""
        return {
            "schema_version": SCHEMA_VERSION,
            "at": self.at,
            "targets": [target.to_json() for target in self.targets],
            "away": [asdict(target) for target in self.away],
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Verification":
        """The record that `to_json` described, of this schema version."""
        fields.choice("schema_version", (SCHEMA_VERSION,))
        return fields.record(
            lambda: cls(
                at=fields.text("at"),
                targets=tuple(TargetVerification.from_json(item) for item in fields.objects("targets")),
                away=tuple(AwayTarget.from_json(item) for item in fields.objects("away")),
            )
        )
