"""What the tools answer. Times are in seconds, sizes in bytes; ratios are relative to the original model."""

from typing import Any, Self

from pydantic import BaseModel, Field

from ...text.printable import printable_strings
from .arguments import State


class Answer(BaseModel):
    """A record made of the service's JSON; what else is in that is left out."""

    @classmethod
    def of(cls, value: Any) -> Self:
        """The record of a JSON value, whose texts hide nothing from who reads them."""
        return cls.model_validate(printable_strings(value))


class SearchSummary(Answer):
    """A search in a list."""

    id: str
    owner: str
    task: str
    target: str
    state: State
    created: str
    ended: str | None
    stage: str | None = Field(default=None, description="What it does now, in its own words.")
    share: float | None = Field(default=None, description="How far it is, 0 to 1.")
    left_s: float | None = Field(default=None, description="Seconds that are left of its budget.")
    measured: int | None = Field(default=None, description="Candidates that were measured.")
    failed: int | None = Field(default=None, description="Candidates that could not be: get_failures.")
    message: str = Field(description="Why it failed, or what it said last.")


class Search(SearchSummary):
    """A search as it is now."""

    page: str = Field(description="The address of its page, for a person.")
    wanted: str = Field(description="What was asked of it while it runs: run, again, pause, cancel.")
    started: str | None
    worker: str | None
    attempt: int
    exit_code: int | None = Field(description="0: done; 1: done, and nothing meets the limits.")
    elapsed_s: float | None = None
    order: dict[str, Any] = Field(description="What was submitted: limits, budget, seed …")

    @classmethod
    def of_json(cls, value: Any, page: str) -> Self:
        """The search of the service's JSON."""
        return cls.of({**spread(value), "page": page})


class Searches(Answer):
    """A page of searches, the newest first; `next` is the `before` of the following page, null at the end."""

    searches: list[SearchSummary]
    next: str | None


class Line(Answer):
    """A line of a search's log."""

    id: int
    at: str
    kind: str
    text: str


class Log(Answer):
    """Lines of a log, the oldest first; `after` of a later call gets those that come after them."""

    lines: list[Line]
    after: int


class Point(Answer):
    """A measured candidate on a target. The interval of a number is `_low` to `_high` (95 %)."""

    trial: int
    target: str | None = None
    label: str
    on_front: bool
    chosen: bool
    quality: float = Field(description="On the validation split, in the metric's own unit.")
    drop: float = Field(description="Quality that was lost; of a fraction 0.01 is one point, 1pp.")
    drop_low: float | None
    drop_high: float | None
    test_quality: float | None = Field(description="On the test split, for points on the front.")
    latency_s: float | None = Field(description="Of one inference; null where it is only predicted.")
    latency_low_s: float | None
    latency_high_s: float | None
    latency_ratio: float | None = Field(description="To the original's; 0.5 is twice as fast.")
    p99_s: float | None
    noisy: bool | None
    predicted_latency_s: float | None = Field(description="Not measured: the target was away.")
    predicted_latency_ratio: float | None
    size_bytes: int
    size_ratio: float
    energy_j: float | None
    parameters: int
    macs: int
    peak_memory_bytes: int | None
    mean_bits: float
    recovery_steps: int
    warnings: list[str]


class Metric(Answer):
    """What quality is: better when it is higher, or lower; of the unit `fraction` 1.0 is 100 %."""

    name: str
    direction: str
    unit: str


class Chosen(Answer):
    """The point that is recommended first, and why."""

    trial: int
    reason: str
    meets_limits: bool


class Named(Answer):
    """A point that is best in something: fastest, smallest, most accurate, balanced."""

    trial: int
    names: list[str]


class Miss(Answer):
    """A point that breaks the limits by little, where none meets them; by how much of each limit."""

    trial: int
    violations: dict[str, Any]


class Front(Answer):
    """The best compromises of a search: no other point is better in quality, latency and size at once."""

    status: str
    elapsed_s: float
    metric: Metric
    chosen: Chosen
    recommended: list[Named]
    nearest_misses: list[Miss]
    original: list[Point] = Field(description="The uncompressed model on each target.")
    points: list[Point]
    count: int = Field(description="How many points the whole front has.")


class Picked(Answer):
    """The point within limits, and its neighbours on the front by latency, whose rows follow."""

    trial: int
    faster: int | None = Field(description="The next faster point of the front; null at its end.")
    slower: int | None
    points: list[Point]


class Layer(Answer):
    """What became of a layer. A removed one has no channels; the times are the profiler's."""

    name: str
    kind: str
    channels_in: int
    channels_out: int
    channels_in_original: int
    channels_out_original: int
    precision_asked: str
    precision_executed: str | None
    bits: float = Field(description="Of one stored weight.")
    macs: int
    parameters: int
    bytes: int
    time_s: float | None
    time_original_s: float | None


class Layers(Answer):
    """Layers of a point, in the model's order."""

    layers: list[Layer]
    count: int


class Failure(Answer):
    """A candidate that could not be measured. `retryable`: it may succeed when tried again."""

    trial: int
    stage: str
    kind: str
    message: str
    retryable: bool


class Failures(Answer):
    """Candidates that could not be measured; a search goes on without them."""

    failures: list[Failure]
    count: int


def spread(value: Any) -> Any:
    """A search of the service with the entries of its order and its progress beside its own, which win."""
    return {**value["progress"], **value["order"], **value}
