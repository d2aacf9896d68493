"""What goes in and out over HTTP. OpenAPI, and with it docs/rest.md, is made of these."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...nightly.search_recipe import SearchRecipe, named_recipe
from ..order import Order
from ..queue.events import Line
from ..queue.job import Job, State
from .fields import Count, Drop, Duration, ExitCode, Priority, Samples, Seed, Text, Texts, Trial, Trials


class Given(BaseModel):
    """What comes in: nothing but its fields, and no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OrderIn(Given):
    """A search: the options of `autocompress search`, texts with their units."""

    task: Text = Field(default="digits", description="The name of a registered task.")
    arguments: Annotated[dict[Text, Text], Field(max_length=50)] = {}
    target: Text = Field(default="cpu", description="Targets by name, separated by commas.")
    budget: Duration | None = Field(default=None, description="Such as 20m.")
    trials: Trials | None = None
    max_drop: Drop | None = Field(default=None, description="Such as 1pp.")
    max_latency: Texts = Field(default=[], description="Such as 2ms, or T=2ms on one target.")
    max_size: Texts = []
    max_energy: Texts = []
    batch: Trials = 1
    shapes: Texts = []
    sampler: Literal["front", "tpe", "nsga2", "gp", "random"] = "front"
    recovery: bool = True
    allow_predicted: bool = False
    seed: Seed = 0
    deterministic: bool = False
    validation_samples: Samples | None = None
    labels: Texts = Field(default=[], description="What a worker must have.")
    priority: Priority = 0
    recipe: Text | None = Field(default=None, description="What is not given is that of `/v1/recipes`.")
    policy: Text | None = Field(default=None, description="Which point is wanted: smallest within 1pp.")

    def order(self, recipes: Mapping[str, SearchRecipe]) -> Order:
        """The order, with what the recipe says where nothing else is given. InputError in the words of the
        command line.
        """
        values = self.model_dump(exclude={"recipe"})
        if self.recipe is not None:
            wish = named_recipe(recipes, self.recipe)
            given = {"budget", "trials"} if {"budget", "trials"} & self.model_fields_set else set()
            said = {**wish.options, "policy": wish.policy}
            values |= {name: one for name, one in said.items() if name not in self.model_fields_set | given}
        return Order.from_json(values)


class BudgetIn(Given):
    """Another budget: a time, a number of trials, or both."""

    budget: Duration | None = None
    trials: Trials | None = None


class SearchOut(BaseModel):
    """A search as it is now. `progress` is what it said of itself last: stage, share, left_s, front …"""

    id: str
    owner: str
    state: State
    wanted: str = Field(description="What is asked of a running search: run, again, pause, cancel.")
    order: dict[str, Any]
    created: str
    started: str | None
    ended: str | None
    worker: str | None
    attempt: int
    exit_code: int | None
    message: str
    progress: dict[str, Any]
    version: int

    @classmethod
    def of(cls, job: Job) -> "SearchOut":
        """A job as it goes out."""
        return cls(
            id=job.id,
            owner=job.owner,
            state=job.state,
            wanted=job.wanted,
            order=job.order.to_json(),
            created=when(job.created) or "",
            started=when(job.started),
            ended=when(job.ended),
            worker=job.worker,
            attempt=job.attempt,
            exit_code=job.exit_code,
            message=job.message,
            progress=dict(job.progress),
            version=job.version,
        )


class SearchesOut(BaseModel):
    """A page of searches, the newest first. `next` is the `before` of the following page."""

    searches: list[SearchOut]
    next: str | None


class LineOut(BaseModel):
    """A line of a search's log."""

    id: int
    at: str
    kind: str
    text: str

    @classmethod
    def of(cls, number: int, line: Line) -> "LineOut":
        """A line as it goes out."""
        return cls(id=number, at=when(line.at) or "", kind=line.kind, text=line.text)


class PickOut(BaseModel):
    """The point that is picked, and those beside it on the front by latency; null at the ends."""

    trial: int
    faster: int | None
    slower: int | None
    points: list[dict[str, Any]]


class BundleIn(Given):
    """Which point to bundle, on a run of several targets for which one."""

    trial: Trial
    target: Text | None = None


class BundleOut(BaseModel):
    """A bundle as a ZIP file, to be fetched at `url`."""

    name: str
    url: str
    size_bytes: int
    sha256: str


class RecipeOut(BaseModel):
    """A name for target, limits, budget and policy."""

    name: str
    about: str
    policy: str
    options: dict[str, Any]


class TaskOut(BaseModel):
    """A registered task and what its function takes."""

    name: str
    parameters: list[dict[str, Any]]


class WorkerIn(Given):
    """A worker that asks for a job."""

    worker: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    labels: Texts = []


class LineIn(Given):
    """A line of a log; `number` counts those of an attempt."""

    number: Count
    at: Annotated[float, Field(ge=0, le=1e11)]
    kind: Annotated[str, Field(max_length=20, pattern=r"^[a-z]+$")]
    text: Annotated[str, Field(max_length=4000)]

    def line(self) -> Line:
        """The line."""
        return Line(number=self.number, at=self.at, kind=self.kind, text=self.text.replace("\x00", ""))


class BeatIn(Given):
    """A heartbeat of an attempt, with what is new."""

    attempt: Count
    lines: Annotated[list[LineIn], Field(max_length=1000)] = []
    progress: dict[str, Any] = {}


class EndIn(BeatIn):
    """How the command of an attempt ended."""

    exit_code: ExitCode
    message: Annotated[str, Field(max_length=4000)] = ""


class BeatOut(BaseModel):
    """What is wanted of the job: run, again, pause, cancel."""

    wanted: str


class ClaimOut(BaseModel):
    """A job that is the worker's now; the lease is renewed by each heartbeat."""

    id: str
    attempt: int
    lease_s: float
    order: dict[str, Any]


class FilesOut(BaseModel):
    """The files of a run that the service has."""

    files: list[str]


def when(seconds: float | None) -> str | None:
    """The time as ISO 8601 in UTC."""
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    )
