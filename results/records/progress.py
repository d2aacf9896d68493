"""What a strategy says of its work: sensitivities, latency tables, rungs, where the time went, and which
candidates were stopped.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...compress.recipe import Recipe
from .facts import Direction
from .latency import AnyLatency, latency_from_json
from .point import ArtifactFacts, Measured, Point, Quality, recipe_from
from .reading import Fields, Interval, require_finite, require_inside


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSensitivity:
    """The loss (KL in nats) of each level of a slot, what the levels are called, which were measured."""

    losses: tuple[float, ...]
    labels: tuple[str, ...]
    measured: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not len(self.losses) == len(self.labels) == len(self.measured):
            raise ValueError("losses, labels and measured must have one entry for each level.")

    @classmethod
    def from_json(cls, fields: Fields) -> "SlotSensitivity":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                losses=fields.numbers("losses"),
                labels=fields.texts("labels"),
                measured=fields.flags("measured"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TableError:
    """How well a latency table predicted `count` candidates before they were measured; None where unknown."""

    count: int
    kendall_tau: float | None
    median_error: float | None

    @classmethod
    def from_json(cls, fields: Fields) -> "TableError":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                count=fields.whole("count"),
                kendall_tau=fields.maybe("kendall_tau", fields.number),
                median_error=fields.maybe("median_error", fields.amount),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rungs:
    """How many candidates each rung (`r0` … `r3`) saw, and the rank correlation of neighbours (`r0-r1`,
    `r1-r2`).
    """

    counts: Mapping[str, int]
    correlation: Mapping[str, float | None]

    @classmethod
    def from_json(cls, fields: Fields) -> "Rungs":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                counts=fields.each("counts", lambda entries, name: entries.whole(name)),
                correlation=fields.each(
                    "correlation", lambda entries, name: entries.maybe(name, entries.number)
                ),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFacts:
    """What is known of the search itself. `sensitivity` is by slot (`precision/conv1`), tables are by target.

    `time` has seconds by activity. `peak_memory_bytes` is what the search took at most on its own machine, of
    `memory_limit_bytes`; None in runs of earlier versions.
    """

    sensitivity: Mapping[str, SlotSensitivity] = field(default_factory=dict)
    latency_tables: Mapping[str, TableError] = field(default_factory=dict)
    rungs: Rungs | None = None
    time: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "SearchFacts":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                sensitivity=fields.each(
                    "sensitivity", lambda entries, name: SlotSensitivity.from_json(entries.object(name))
                ),
                latency_tables=fields.each(
                    "latency_tables", lambda entries, name: TableError.from_json(entries.object(name))
                ),
                rungs=fields.maybe("rungs", lambda key: Rungs.from_json(fields.object(key))),
                time=fields.each("time", lambda entries, name: entries.amount(name)),
                peak_memory_bytes=fields.optional("peak_memory_bytes", fields.whole),
                memory_limit_bytes=fields.optional("memory_limit_bytes", fields.whole),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A candidate that was measured on the target, but validated on `samples` of `of` samples only: it could
    not join the front any more (evaluation/racing.py).

    `drop`, which is estimated from them, and its 95 % interval are those of the whole split. `beaten_by` is a
    trial that is at most as slow and as large and loses less; None: the drop is above the user's limit.
    """

    trial: int
    recipe: Recipe
    target: str
    artifact: ArtifactFacts
    latency: AnyLatency
    samples: int
    of: int
    drop: float
    drop_interval: Interval
    beaten_by: int | None
    elapsed_s: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.samples < self.of:
            raise ValueError(f"samples is {self.samples}, but must be above 0 and below {self.of}.")
        require_finite(drop=self.drop)
        require_inside(self.drop_interval, drop=self.drop)

    def estimated(self, original: Point, *, better: Direction) -> Point:
        """The point that a strategy goes by. Its quality is an estimate: no file and no person gets it."""
        before = original.measured[self.target].quality.validation
        quality = before - self.drop if better == "higher" else before + self.drop
        outcome = Measured(
            artifact=self.artifact,
            quality=Quality(validation=quality),
            drop=self.drop,
            drop_interval=self.drop_interval,
            latency=self.latency,
        )
        return Point(
            trial=self.trial,
            recipe=self.recipe,
            outcomes={self.target: outcome},
            elapsed_s=self.elapsed_s,
            seconds=self.seconds,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return {**asdict(self), "recipe": self.recipe.to_json(), "latency": self.latency.to_json()}

    @classmethod
    def from_json(cls, fields: Fields) -> "Stopped":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                trial=fields.whole("trial"),
                recipe=recipe_from(fields.object("recipe")),
                target=fields.target("target"),
                artifact=ArtifactFacts.from_json(fields.object("artifact")),
                latency=latency_from_json(fields.object("latency")),
                samples=fields.whole("samples", least=1),
                of=fields.whole("of", least=1),
                drop=fields.number("drop"),
                drop_interval=fields.interval("drop_interval"),
                beaten_by=fields.maybe("beaten_by", fields.whole),
                elapsed_s=fields.amount("elapsed_s"),
                seconds=fields.each("seconds", lambda entries, name: entries.amount(name)),
            )
        )
