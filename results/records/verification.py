"""Verification: what `verify RUN` measured on each target, beside what the run says. verify.json holds it."""

from dataclasses import asdict, dataclass
from typing import Any

from ...profiles import Environment
from ...profiles.regression import PredictionError
from .facts import Prediction, environment_from
from .latency import Latency
from .reading import Fields, Interval

SCHEMA_VERSION = 3  # of verify.json


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPoint:
    """A point then and now.

    `earlier_s`, `earlier_ratio` and `earlier_interval` (of the ratio; None for a prediction) are the latency
    that the run says, `earlier_quality` is the metric on validation. `latency` and `quality` are what was
    measured now. `breaks` names limits that held and are broken now, `regressed` says in words what is worse.
    """

    trial: int
    label: str
    earlier_s: float
    earlier_ratio: float
    earlier_interval: Interval | None
    earlier_quality: float
    earlier_quality_interval: Interval | None
    latency: Latency | None
    quality: float | None
    breaks: tuple[str, ...] = ()
    regressed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.earlier_s, self.earlier_ratio) <= 0:
            raise ValueError("earlier_s and earlier_ratio must be above 0.")
        if self.latency is None and not self.regressed:
            raise ValueError("a point without a latency must say in `regressed` why it has none.")

    @property
    def predicted(self) -> bool:
        """Whether the earlier latency was predicted, not measured."""
        return self.earlier_interval is None

    @property
    def error(self) -> float | None:
        """The earlier latency relative to the measured one, minus 1: seconds that were predicted, ratios that
        were measured (the machine's drift is not in them).
        """
        if self.latency is None:
            return None
        before, now = self.compared(self.latency)
        return before / now - 1

    def compared(self, latency: Latency) -> tuple[float, float]:
        """What is compared, then and now: seconds that were predicted, ratios that were measured."""
        if self.predicted:
            return self.earlier_s, latency.seconds
        return self.earlier_ratio, latency.ratio

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "VerifiedPoint":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                trial=fields.whole("trial", least=-(10**9)),
                label=fields.text("label"),
                earlier_s=fields.positive("earlier_s"),
                earlier_ratio=fields.positive("earlier_ratio"),
                earlier_interval=fields.maybe("earlier_interval", fields.interval),
                earlier_quality=fields.number("earlier_quality"),
                earlier_quality_interval=fields.maybe("earlier_quality_interval", fields.interval),
                latency=fields.maybe("latency", lambda key: Latency.from_json(fields.object(key))),
                quality=fields.maybe("quality", fields.number),
                breaks=fields.texts("breaks"),
                regressed=fields.texts("regressed"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetVerification:
    """What was measured on one target. `earlier_target` is the run's target that it is compared with.

    `prediction` says how that one's latencies were predicted, None where they were measured.
    `quality_not_verified` says why no metric was computed, `task_differs` how the task that it is of differs
    from the run's.
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
    task_differs: str | None = None

    @property
    def regressed(self) -> bool:
        """Whether any point is worse than the run says."""
        return any(point.regressed for point in self.points)

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was not compared with the run."""
        elsewhere = self.target != self.earlier_target and self.prediction is None
        quality = self.quality_not_verified is not None
        return (*(["latency"] if elsewhere else []), *(["quality"] if quality else []))

    @property
    def prediction_error(self) -> PredictionError:
        """How far the earlier latencies are from those measured now."""
        pairs = [point.compared(point.latency) for point in self.points if point.latency]
        return PredictionError.of([before for before, _ in pairs], [now for _, now in pairs])

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return {**asdict(self), "environment": self.environment.to_json()}

    @classmethod
    def from_json(cls, fields: Fields) -> "TargetVerification":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                at=fields.text("at"),
                target=fields.target("target"),
                address=fields.text("address"),
                profile_fingerprint=fields.text("profile_fingerprint"),
                environment=environment_from(fields.object("environment")),
                earlier_target=fields.target("earlier_target"),
                prediction=fields.maybe("prediction", lambda key: Prediction.from_json(fields.object(key))),
                batch=fields.whole("batch", least=1),
                points=tuple(VerifiedPoint.from_json(point) for point in fields.objects("points")),
                quality_not_verified=fields.maybe("quality_not_verified", fields.text),
                task_differs=fields.optional("task_differs", fields.text),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AwayTarget:
    """A target that could not be used, and why. `address` is empty where the user has to give it."""

    name: str
    address: str
    reason: str

    @classmethod
    def from_json(cls, fields: Fields) -> "AwayTarget":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                name=fields.target("name"), address=fields.text("address"), reason=fields.text("reason")
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What one call of `verify` measured on all its targets.

    `unread_version` is the schema version of a verify.json that only a newer autocompress can read; then
    nothing else is known.
    """

    at: str
    targets: tuple[TargetVerification, ...]
    away: tuple[AwayTarget, ...] = ()
    unread_version: int | None = None

    @property
    def regressed(self) -> bool:
        """Whether anything is worse than the run says."""
        return any(target.regressed for target in self.targets)

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was not compared with the run, and on which target."""
        return tuple(f"{what} on {target.target}" for target in self.targets for what in target.skipped)

    def to_json(self) -> dict[str, Any]:
        """The value of verify.json without its digest, from which `from_json` makes an equal record."""
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
                targets=tuple(TargetVerification.from_json(target) for target in fields.objects("targets")),
                away=tuple(AwayTarget.from_json(target) for target in fields.objects("away")),
            )
        )
