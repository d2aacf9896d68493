"""What a night does, as nightly.toml says it: models, policies, tolerances, the canary, who is told."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Literal

from ..results.choosing.policy import Policy
from ..results.compare.tolerance import Tolerance

Order = Literal["listed", "priority"]
Told = Literal["worse", "changed", "always"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A model that is searched every night. `name` is that of its folders.

    `task` to `set_clocks` are the options of `autocompress search` of the same names, texts with units as the
    command takes them. `policies` say which points are looked at from night to night, the first may be
    deployed (`deploy`), and what is deployed goes to the registry `push`. `drift` is where its monitor logs
    are, a file or a folder. A new bundle replaces the deployed one only if what its policy minimizes is
    better by `margin`, relative: 0.02 means 2 %. Models with a higher `priority` come first.
    """

    name: str
    task: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str = "cpu"
    budget: str | None = None
    trials: int | None = None
    max_drop: str | None = None
    max_latency: tuple[str, ...] = ()
    max_size: tuple[str, ...] = ()
    max_energy: tuple[str, ...] = ()
    batch: int = 1
    shapes: tuple[str, ...] = ()
    sampler: str = "front"
    seed: int = 0
    deterministic: bool = False
    validation_samples: int | None = None
    recovery: bool = True
    memory: str | None = None
    device: str = "auto"
    ray: str = ""
    allow_predicted: bool = False
    set_clocks: bool = False
    policies: tuple[Policy, ...]
    deploy: bool = True
    push: str | None = None
    drift: str | None = None
    margin: float = 0.02
    priority: int = 0

    def __post_init__(self) -> None:
        if not is_model_name(self.name):
            raise ValueError(f"{self.name!r} is no name of letters, digits, _ and -.")
        if not self.policies:
            raise ValueError("policies must name at least one.")
        if self.budget is None and self.trials is None:
            raise ValueError("budget or trials must say when the search ends.")
        if self.deterministic and (self.trials is None or self.budget is not None):
            raise ValueError("deterministic needs trials and no budget: a time depends on the clock.")
        if not 0 <= self.margin < 1:
            raise ValueError("margin must be from 0% to below 100%.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Who is told: `addresses` is the name of an environment variable that holds apprise URLs. `when`: only
    of what got worse, also of what changed, or of every night.
    """

    addresses: str
    when: Told = "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlyConfig:
    """The whole of nightly.toml. `file` is where it was read, `folder` where everything is kept.

    `at`: the local time at which a service begins the night each day. `until`: the local time after which no
    search begins, and at which the one that runs is stopped. `keep`: how many nights stay on disk. `retry`:
    how often a search that failed or whose target was away is tried again in the same call, `retry_wait_s`
    after the others are done. `canary` maps a package to the version that is tried beforehand.
    """

    file: Path
    folder: Path
    models: tuple[ModelConfig, ...]
    order: Order = "listed"
    at: time | None = None
    until: time | None = None
    keep: int = 14
    retry: int = 1
    retry_wait_s: float = 60.0
    tolerance: Tolerance = field(default_factory=Tolerance)
    canary: Mapping[str, str] = field(default_factory=dict)
    notify: Notify | None = None

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("it names no model: add a table [model.NAME].")
        if self.keep < 2:
            raise ValueError("keep must be at least 2: a night is compared with the one before it.")
        if self.retry < 0 or self.retry_wait_s < 0:
            raise ValueError("retry and retry_wait must not be negative.")

    @property
    def place(self) -> Path:
        """The folder that relative paths of the file and its tasks start from: the file's own."""
        return self.file.parent

    @property
    def in_order(self) -> tuple[ModelConfig, ...]:
        """The models as a night goes through them."""
        if self.order == "listed":
            return self.models
        return tuple(sorted(self.models, key=lambda model: -model.priority))


def is_model_name(text: str) -> bool:
    """Whether a text can be the name of a model, and so of a folder."""
    return _NAME.fullmatch(text) is not None
