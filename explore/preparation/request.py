"""SearchRequest: what the command line asks for, parsed. Light: no torch, no Optuna."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import InputError
from ...profiles.sizes import asked_sizes
from ...results.limits import Constraints

SAMPLERS = ("front", "tpe", "nsga2", "gp", "random")
DEFAULT_BUDGET_S = 180.0
LEAST_SAMPLES = 32  # of validation


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A search as it was asked for. With neither `budget_s` nor `trials` the budget is DEFAULT_BUDGET_S.

    `target` may be several, separated by commas; with `alternatives` they are runtimes of one device, of
    which each candidate takes the best. `constraints` are the limits by target name, and a target
    without an entry has none. `set_clocks`: whether boards' power modes are set and their clocks fixed
    meanwhile. `deterministic`: no clock decides what is tried. `warm_start` is the directory of an earlier
    run whose front is tried first. `memory_bytes` is what the search may take, None for a share of what is
    free; `device` is where it computes, `auto` a GPU with room if there is one. `allow_predicted`: targets
    that cannot be used are predicted. `shapes` are the sizes of free dimensions that are measured, such as
    `tokens=128` (profiles/sizes.py).
    `validation_samples`: at most so many of them score candidates. `ray` is the address of a cluster that
    builds and trains, `auto` or `local`; empty for none.
    """

    task: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str = "cpu"
    batch: int = 1
    shapes: tuple[str, ...] = ()
    budget_s: float | None = None
    trials: int | None = None
    constraints: Mapping[str, Constraints] = field(default_factory=dict)
    sampler: str = "front"
    recovery: bool = True
    memory_bytes: int | None = None
    device: str = "auto"
    ray: str = ""
    allow_predicted: bool = False
    warm_start: Path | None = None
    seed: int = 0
    set_clocks: bool = False
    out: Path | None = None
    fresh: bool = False
    deterministic: bool = False
    alternatives: bool = False
    validation_samples: int | None = None
    command: str = ""

    def __post_init__(self) -> None:
        for text in (self.task, self.command, *self.arguments.values()):
            if text.encode("utf-8", "replace").decode() != text:
                raise InputError(f"{text!r} is no UTF-8, which the files of a run are: use another name.")
        if self.sampler not in SAMPLERS:
            raise InputError(f"There is no sampler {self.sampler!r}: choose {', '.join(SAMPLERS)}.")
        if self.warm_start is not None and self.sampler != "front":
            raise InputError(
                f"--from needs the sampler 'front'; {self.sampler!r} cannot start from an earlier run: "
                "leave out one of the two."
            )
        if re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device) is None:
            raise InputError(f"--device {self.device!r} is none: give auto, cpu, cuda or cuda:1.")
        self._check_ray()
        if self.batch < 1:
            raise InputError(f"--batch {self.batch} is no batch size: give 1 or more.")
        asked_sizes(self.shapes)
        if self.trials is not None and self.trials < 1:
            raise InputError(
                f"--trials {self.trials} is too few: give 1 or more (the original model counts)."
            )
        if self.validation_samples is not None and self.validation_samples < LEAST_SAMPLES:
            raise InputError(
                f"--validation-samples {self.validation_samples} is too few: give {LEAST_SAMPLES} or more."
            )
        if self.deterministic:
            self._require_no_clock()
        if not 0 <= self.seed < 1 << 32:
            raise InputError(f"--seed {self.seed} is no seed: give a whole number from 0 to {(1 << 32) - 1}.")
        if self.budget_s is None and self.trials is None:
            object.__setattr__(self, "budget_s", DEFAULT_BUDGET_S)

    def _check_ray(self) -> None:
        if not self.ray:
            return
        if re.fullmatch(r"auto|local|[\w.:-]{1,253}|\[[0-9a-fA-F:]+\]:\d+", self.ray) is None:
            raise InputError(
                f"--ray {self.ray!r} is no address: give auto, local or HOST:6379. A machine joins a cluster "
                "with `ray start --address=HOST:6379`; ray:// has no node of its own to measure on."
            )
        if self.sampler != "front" or self.deterministic:
            other = "--deterministic" if self.deterministic else f"--sampler {self.sampler}"
            raise InputError(
                f"--ray and {other} exclude each other: on a cluster it is chance what ends first. Leave out "
                "one of the two."
            )

    def _require_no_clock(self) -> None:
        """InputError for what cannot be deterministic."""
        if self.trials is None or self.budget_s is not None:
            raise InputError(
                "--deterministic needs --trials N and no --budget: where a clock ends a search, each ends "
                "elsewhere."
            )
        if self.device.startswith("cuda"):
            raise InputError(
                f"--deterministic computes on the CPU: leave --device {self.device} out, a GPU's sums differ "
                "from one time to the next."
            )
        if self.alternatives:
            raise InputError(
                "--deterministic goes by latencies that no clock decides, and those do not tell runtimes "
                "apart: leave out --runtimes, or name one."
            )

    def directory(self, task_name: str, target_name: str) -> Path:
        """Where the run goes: `--out`, or `runs/TASK-TARGET`."""
        if self.out is not None:
            return self.out
        return Path("runs") / re.sub(r"[^\w.-]+", "-", f"{task_name}-{target_name}").strip("-.")
