"""What the tools answer besides searches: what can be searched, on what, and what happened at night."""

from typing import Any

from pydantic import Field

from .answers import Answer


class Parameter(Answer):
    """An argument of a task. `many`: values separated by commas."""

    name: str
    kind: str
    many: bool
    required: bool


class Task(Answer):
    """A model with its data and its metric, which the administrator registered."""

    name: str
    parameters: list[Parameter]


class Tasks(Answer):
    """The registered tasks: nothing else can be searched."""

    tasks: list[Task]


class Recipe(Answer):
    """A name for target, limits, budget and policy."""

    name: str
    about: str
    policy: str
    options: dict[str, Any]


class Recipes(Answer):
    """The usual wishes that the service knows by name."""

    recipes: list[Recipe]


class Worker(Answer):
    """A machine that searches, heard of `silent_s` ago; `search` is there if you may see it."""

    name: str
    labels: list[str]
    silent_s: float
    busy: bool
    search: str | None


class Board(Answer):
    """A board that a search has named; busy: one measures on it now."""

    name: str
    busy: bool


class Machines(Answer):
    """What searches run and measure on. `devices` may be named as a target; disk of the service in bytes."""

    workers: list[Worker]
    boards: list[Board]
    devices: list[str]
    free_bytes: int
    total_bytes: int


class Night(Answer):
    """A night, what became of each model, and why somebody should look."""

    name: str
    began: str
    ended: str | None
    status: str
    reason: str
    models: dict[str, str]


class Nightly(Answer):
    """A file of nightly runs: when its nights begin, and the last ones, the newest first."""

    name: str
    at: str | None
    running: bool
    wrong: str = Field(description="Why the file cannot be used; empty if it can.")
    nights: list[Night]


class Nights(Answer):
    """The nightly runs."""

    nightly: list[Nightly]
