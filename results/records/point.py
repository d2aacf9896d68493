"""Point: a measured candidate of a run. On each target it is Measured or Missing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from ...compress.artifact import Artifact
from ...compress.recipe import Precision, Recipe, executes_as
from ...errors import FailureKind, FailureStage, StageError
from ...text.secrets import without_secrets
from .latency import AnyLatency, latency_from_json
from .reading import Fields, Interval, require_finite, require_inside


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFacts:
    """What is kept of an artifact: the file relative to the run directory, and its numbers."""

    file: str
    digest: str
    size_bytes: int
    macs: int
    parameters: int

    def __post_init__(self) -> None:
        if self.size_bytes < 1:
            raise ValueError("size_bytes must be above 0.")

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

    @classmethod
    def from_json(cls, fields: Fields) -> "ArtifactFacts":
        """The artifact that `asdict` described."""
        return fields.record(
            lambda: cls(
                file=fields.path("file"),
                digest=fields.text("digest"),
                size_bytes=fields.whole("size_bytes", least=1),
                macs=fields.whole("macs"),
                parameters=fields.whole("parameters"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The metric on validation and, for finalists, on the test split, each with its interval where there is
    one. `test_drop` is the loss against the original there.
    """

    validation: float
    interval: Interval | None = None
    test: float | None = None
    test_interval: Interval | None = None
    test_drop: float | None = None
    test_drop_interval: Interval | None = None

    def __post_init__(self) -> None:
        require_finite(validation=self.validation, test=self.test, test_drop=self.test_drop)
        require_inside(self.test_drop_interval, test_drop=self.test_drop)

    @classmethod
    def from_json(cls, fields: Fields) -> "Quality":
        """The quality that `asdict` described."""
        return fields.record(
            lambda: cls(
                validation=fields.number("validation"),
                interval=fields.maybe("interval", fields.interval),
                test=fields.maybe("test", fields.number),
                test_interval=fields.maybe("test_interval", fields.interval),
                test_drop=fields.optional("test_drop", fields.number),
                test_drop_interval=fields.optional("test_drop_interval", fields.interval),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A layer of a candidate. A removed layer has no channels; `bits` are those of one stored weight.

    `precision_executed` is None where the runtime does not show it. The times are the profiler's, of this
    layer and of the original's, None where nobody profiled.
    """

    name: str
    kind: str
    channels_in: int
    channels_out: int
    channels_in_original: int
    channels_out_original: int
    precision_asked: Precision
    precision_executed: Precision | None
    bits: float
    macs: int
    parameters: int
    bytes: int
    time_s: float | None = None
    time_original_s: float | None = None

    @property
    def differs(self) -> bool:
        """Whether it ran in another precision than was asked for; few stored bits may run in int8."""
        return self.precision_executed not in (None, executes_as(self.precision_asked))

    @classmethod
    def from_json(cls, fields: Fields) -> "LayerRow":
        """The row that `asdict` described."""
        precisions = get_args(Precision)
        return fields.record(
            lambda: cls(
                name=fields.text("name"),
                kind=fields.text("kind"),
                channels_in=fields.whole("channels_in"),
                channels_out=fields.whole("channels_out"),
                channels_in_original=fields.whole("channels_in_original"),
                channels_out_original=fields.whole("channels_out_original"),
                precision_asked=fields.choice("precision_asked", precisions),
                precision_executed=fields.choice("precision_executed", (None, *precisions)),
                bits=fields.amount("bits"),
                macs=fields.whole("macs"),
                parameters=fields.whole("parameters"),
                bytes=fields.whole("bytes"),
                time_s=fields.maybe("time_s", fields.amount),
                time_original_s=fields.maybe("time_original_s", fields.amount),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A candidate that could not be measured: where and why."""

    trial: int
    stage: FailureStage
    kind: FailureKind
    message: str
    retryable: bool

    def __post_init__(self) -> None:
        # the message of a library or of the user's code may repeat what it was given
        object.__setattr__(self, "message", without_secrets(self.message))

    @classmethod
    def of(cls, error: StageError, *, trial: int) -> "Failure":
        """The record of a stage's error."""
        return cls(
            trial=trial, stage=error.stage, kind=error.kind, message=str(error), retryable=error.retryable
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "Failure":
        """The failure that `to_json` described."""
        return fields.record(
            lambda: cls(
                trial=fields.whole("trial", least=-(10**9)),
                stage=fields.choice("stage", get_args(FailureStage)),
                kind=fields.choice("kind", get_args(FailureKind)),
                message=fields.text("message"),
                retryable=fields.flag("retryable"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A candidate on a target that has a latency for it (measured, or predicted where it cannot be used).

    `drop` is the loss against the original in the metric's unit, with the interval of this difference where
    there is one (evaluation/uncertainty.py). `finalist`: it was measured longer and
    scored on the test split. `other_time_s` is the profiler's time outside the layers.
    """

    artifact: ArtifactFacts
    quality: Quality
    drop: float
    latency: AnyLatency
    layers: tuple[LayerRow, ...] = ()
    finalist: bool = False
    other_time_s: float | None = None
    drop_interval: Interval | None = None

    def __post_init__(self) -> None:
        require_finite(drop=self.drop)
        require_inside(self.drop_interval, drop=self.drop)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `outcome_from_json` makes an equal record."""
        return {**asdict(self), "latency": self.latency.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A candidate on a target that has no latency for it: `failure` says why. `retryable` ones are tried
    again.

    Answers that it gave before the failure are kept.
    """

    artifact: ArtifactFacts
    failure: Failure
    quality: Quality | None = None
    drop: float | None = None
    layers: tuple[LayerRow, ...] = ()
    drop_interval: Interval | None = None

    def __post_init__(self) -> None:
        require_inside(self.drop_interval, drop=self.drop)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `outcome_from_json` makes an equal record."""
        return asdict(self)


Outcome = Measured | Missing


def outcome_from_json(fields: Fields) -> Outcome:
    """The outcome that `to_json` described."""
    artifact = ArtifactFacts.from_json(fields.object("artifact"))
    layers = tuple(LayerRow.from_json(row) for row in fields.objects("layers"))
    if fields.has("failure"):
        return fields.record(
            lambda: Missing(
                artifact=artifact,
                failure=Failure.from_json(fields.object("failure")),
                quality=fields.maybe("quality", lambda key: Quality.from_json(fields.object(key))),
                drop=fields.maybe("drop", fields.number),
                layers=layers,
                drop_interval=fields.optional("drop_interval", fields.interval),
            )
        )
    return fields.record(
        lambda: Measured(
            artifact=artifact,
            quality=Quality.from_json(fields.object("quality")),
            drop=fields.number("drop"),
            latency=latency_from_json(fields.object("latency")),
            layers=layers,
            finalist=fields.flag("finalist"),
            other_time_s=fields.maybe("other_time_s", fields.amount),
            drop_interval=fields.optional("drop_interval", fields.interval),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuned:
    """The trial that `pick --finetune` started from, and the seconds of its recovery."""

    of: int
    seconds: float

    @classmethod
    def from_json(cls, fields: Fields) -> "FineTuned":
        """The record that `asdict` described."""
        return fields.record(lambda: cls(of=fields.whole("of"), seconds=fields.positive("seconds")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A candidate with its recipe and its outcome on each target. It has a latency on at least one.

    `elapsed_s` is the run's time when it was finished, `seconds` what it cost by stage. A fine-tuned point
    has a trial number below zero. `left_out` says why, by runtime of a device, it was not tried there: that
    is neither a failure nor missing.
    """

    trial: int
    recipe: Recipe
    outcomes: Mapping[str, Outcome]
    elapsed_s: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    finetuned: FineTuned | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not any(isinstance(outcome, Measured) for outcome in self.outcomes.values()):
            raise ValueError(f"Trial {self.trial} has a latency on no target.")
        if (self.trial < 0) != (self.finetuned is not None):
            raise ValueError(f"Trial {self.trial}: fine-tuned points, and only they, have numbers below 0.")
        if both := self.outcomes.keys() & self.left_out.keys():
            raise ValueError(f"Trial {self.trial} is left out on {min(both)}, and has an outcome there.")

    def on(self, target: str) -> "Point":
        """The same as if this were its only target. KeyError when it has no outcome there."""
        return replace(self, outcomes={target: self.outcomes[target]}, left_out={})

    @property
    def measured(self) -> dict[str, Measured]:
        """The outcome on each target where it has a latency."""
        return {name: outcome for name, outcome in self.outcomes.items() if isinstance(outcome, Measured)}

    @property
    def missing(self) -> dict[str, Missing]:
        """The outcome on each target where it has no latency."""
        return {name: outcome for name, outcome in self.outcomes.items() if isinstance(outcome, Missing)}

    @property
    def waiting(self) -> tuple[str, ...]:
        """The targets on which it has no latency for a reason that may pass."""
        return tuple(name for name, missing in self.missing.items() if missing.failure.retryable)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal point."""
        return {
            "trial": self.trial,
            "recipe": self.recipe.to_json(),
            "outcomes": {name: outcome.to_json() for name, outcome in self.outcomes.items()},
            "elapsed_s": self.elapsed_s,
            "seconds": dict(self.seconds),
            "finetuned": asdict(self.finetuned) if self.finetuned else None,
            **({"left_out": dict(self.left_out)} if self.left_out else {}),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Point":
        """The point that `to_json` described."""
        return fields.record(
            lambda: cls(
                trial=fields.whole("trial", least=-(10**9)),
                recipe=recipe_from(fields.object("recipe")),
                outcomes=fields.each(
                    "outcomes", lambda entries, name: outcome_from_json(entries.object(name))
                ),
                elapsed_s=fields.amount("elapsed_s"),
                seconds=fields.each("seconds", lambda entries, name: entries.amount(name)),
                finetuned=fields.maybe("finetuned", lambda key: FineTuned.from_json(fields.object(key))),
                left_out=_left_out(fields) if fields.has("left_out") else {},
            )
        )


def _left_out(fields: Fields) -> dict[str, str]:
    return fields.each("left_out", lambda entries, name: entries.text(name))


def recipe_from(fields: Fields) -> Recipe:
    """The recipe that `Recipe.to_json` described."""
    names = ("keep", "precision", "rank", "skip", "fused", "used_rows", "resolution", "recovery")
    value = {name: fields.value(name) for name in names if fields.has(name)}
    return fields.record(lambda: Recipe.from_json(value))
