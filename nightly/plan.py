"""What `nightly --dry-run` shows: what the next call would do, without doing or writing anything."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..profiles.units import format_duration, parse_budget
from ..text.secrets import stored_command
from .config import ModelConfig, NightlyConfig
from .night_run import continued
from .places import Places
from .records.night import Night
from .steps.search_step import reference_of, search_words


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """A model of the next night: the command of its search, the night that it starts from and is compared
    with, what is deployed of it, and the steps of an interrupted night that are done.
    """

    name: str
    command: str
    budget_s: float | None
    reference: str | None
    deployed: str | None
    done: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """It in words."""
        length = "until its trials are done" if self.budget_s is None else format_duration(self.budget_s)
        start = f"compared with {self.reference}" if self.reference else "the first night"
        deployed = f"{self.deployed} is deployed" if self.deployed else "nothing is deployed yet"
        done = f"; done: {', '.join(self.done)}" if self.done else ""
        yield f"{self.name}: {length}, {start}, {deployed}{done}"
        yield f"    {self.command}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The next call. `continues` is the night that it goes on with, None when it begins one."""

    folder: str
    continues: str | None
    until: str | None
    models: tuple[PlannedModel, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """It in words."""
        what = f"Continues the night {self.continues}" if self.continues else "Begins a night"
        until = f", no search begins after {self.until}" if self.until else ""
        return (
            f"{what} in {self.folder}{until}.",
            *(line for model in self.models for line in model.lines()),
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value for scripts."""
        models = [
            {
                "name": model.name,
                "command": model.command,
                "budget_s": model.budget_s,
                "reference": model.reference,
                "deployed": model.deployed,
                "done": list(model.done),
            }
            for model in self.models
        ]
        return {"folder": self.folder, "continues": self.continues, "until": self.until, "models": models}


def plan_of(
    config: NightlyConfig, *, clock: Callable[[], datetime] = lambda: datetime.now().astimezone()
) -> Plan:
    """The plan of the next call. RunDirectoryError when a night is damaged."""
    places = Places(folder=config.folder)
    nights = places.read_nights()
    night = continued(nights, config, clock())
    earlier = tuple(one for one in nights if night is None or one.name != night.name)
    name = night.name if night else places.new_name(clock())
    return Plan(
        folder=str(config.folder),
        continues=night.name if night else None,
        until=config.until.isoformat(timespec="minutes") if config.until else None,
        models=tuple(_planned(places, model, night, earlier, name) for model in config.in_order),
    )


def _planned(
    places: Places, model: ModelConfig, night: Night | None, earlier: tuple[Night, ...], name: str
) -> PlannedModel:
    reference = reference_of(earlier, model.name)
    warm = None if reference is None or reference[1].run is None else places.folder / reference[1].run
    words = search_words(model, places.run(name, model.name), warm)
    state = night.model(model.name) if night else None
    return PlannedModel(
        name=model.name,
        command=stored_command(shlex.join(["autocompress", *words])),
        budget_s=parse_budget(model.budget) if model.budget else None,
        reference=reference[0].name if reference else None,
        deployed=places.read_deployed(model.name).current,
        done=tuple(step.name for step in state.steps) if state else (),
    )
