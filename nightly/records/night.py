"""Night: all models of one night, as night.json keeps them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from ...results.records.reading import Fields
from .event import DONE, Event, exit_code, reasons
from .model_night import ModelNight

SCHEMA_VERSION = 1  # of night.json

Status = Literal["running", "waiting", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """`name` is that of its folder, the local date at which it began, with `.2` and so on for further nights
    of that date. `began_at` and `ended_at` are ISO 8601 in UTC, the latter None while it is not finished.

    `status`: `running` also after a kill; `waiting` when all is done but models whose target was away, which
    the next call tries again; `finished`. `sessions` counts the calls that worked on it. `models` are in the
    order in which they are gone through. `events` are those of the night as a whole; each model has its own.
    """

    name: str
    began_at: str
    models: tuple[ModelNight, ...]
    status: Status = "running"
    ended_at: str | None = None
    sessions: int = 0
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError("models must hold each model once.")

    @property
    def all_events(self) -> tuple[Event, ...]:
        """The events of the night and of its models."""
        return (*self.events, *(event for model in self.models for event in model.events))

    @property
    def reason(self) -> str:
        """The first line of what is shown of it: the bad events, else that nothing got worse as far as it
        went.
        """
        if self.status == "running" and exit_code(self.all_events) == DONE:
            return "Nothing got worse so far: the night is not finished."
        return reasons(self.all_events)

    def model(self, name: str) -> ModelNight | None:
        """A model's night by its name, None where it was not part of it."""
        return next((model for model in self.models if model.name == name), None)

    def with_model(self, changed: ModelNight) -> "Night":
        """The same night with another state of a model."""
        models = tuple(changed if model.name == changed.name else model for model in self.models)
        return replace(self, models=models)

    def to_json(self) -> dict[str, Any]:
        """The value of night.json without its digest, from which `from_json` makes an equal night."""
        return {
            "schema_version": SCHEMA_VERSION,
            **asdict(self),
            "models": [model.to_json() for model in self.models],
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Night":
        """The night that `to_json` described, of this schema version."""
        fields.choice("schema_version", (SCHEMA_VERSION,))
        return fields.record(
            lambda: cls(
                name=fields.path("name"),
                began_at=fields.text("began_at"),
                models=tuple(map(ModelNight.from_json, fields.objects("models"))),
                status=fields.choice("status", get_args(Status)),
                ended_at=fields.maybe("ended_at", fields.text),
                sessions=fields.whole("sessions"),
                events=tuple(map(Event.from_json, fields.objects("events"))),
            )
        )


def newest_first(nights: tuple[Night, ...]) -> Iterator[Night]:
    """The nights by when they began, the last one first."""
    return iter(sorted(nights, key=lambda night: night.began_at, reverse=True))
