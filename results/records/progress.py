"""What a strategy says of its work: sensitivities, latency tables, rungs, where the time went."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .reading import Fields


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

    `time` has seconds by activity.
    """

    sensitivity: Mapping[str, SlotSensitivity] = field(default_factory=dict)
    latency_tables: Mapping[str, TableError] = field(default_factory=dict)
    rungs: Rungs | None = None
    time: Mapping[str, float] = field(default_factory=dict)

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
            )
        )
