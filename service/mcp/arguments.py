"""Types of the tools' arguments: their JSON schemas tell a model what to write."""

from typing import Annotated, Literal

from pydantic import Field

State = Literal["queued", "running", "paused", "finished", "failed", "cancelled"]
SearchId = Annotated[
    str, Field(pattern="^[0-9a-f]{22}$", description="The id of a search, as list_searches gives it.")
]
Trial = Annotated[int, Field(ge=0, le=10**9, description="The number of a point; 0 is the original model.")]
OneTarget = Annotated[
    str | None, Field(description="One target of a search on several; the first if not given.")
]
First = Annotated[int, Field(ge=0, description="How many entries to pass over, for the next part.")]
Most = Annotated[int, Field(ge=1, le=200, description="How many entries to answer.")]

MaxDrop = Annotated[
    str | None,
    Field(
        description='Largest loss of quality, a text: "1pp" (percentage points, of a metric that is a '
        'fraction), "1%" (of the original\'s value) or "0.1abs" (in the metric\'s own unit).'
    ),
]
MaxLatency = Annotated[
    str | None, Field(description='Longest time of one inference, a text with its unit: "2ms", "500us".')
]
MaxSize = Annotated[
    str | None,
    Field(description='Largest size of the model\'s file, as text: "200KB" (1 KB = 1024 bytes).'),
]
Minimize = Annotated[
    Literal["latency", "size", "drop"], Field(description="What is least among the points within the limits.")
]
Policy = Annotated[
    str | None,
    Field(
        description='Aim and limits in words, instead of single limits: "fastest within 1pp", '
        '"smallest within 0.5pp and 2ms", "most accurate within 200KB", "balanced within 1pp".'
    ),
]
Budget = Annotated[
    str | None,
    Field(description='Time that the search may take, a text with its unit: "20m", "2h". At least minutes.'),
]
Trials = Annotated[
    int | None,
    Field(ge=1, le=1_000_000, description="How many candidates to measure, with the original."),
]
