"""Activity: what a search spends its time on, by the names that run files and reports use."""

from typing import Literal

Activity = Literal[
    "database",
    "sensitivity",
    "latency table",
    "rung r0",
    "build",
    "recovery",
    "validation",
    "timing loops",
    "finalists",
]
BESIDE = "recovery beside the search"
