"""SearchSpace: what a recipe may choose, as Optuna parameters and back.

Parameters of a trial: `keep/<group>` (index into the group's keep levels, ascending), `precision/<layer>` (0 float32,
1 int8), `recover` (0 or 1), and, only with `recover` = 1: `steps` (index into STEPS), `learning_rate`, `temperature`, `weight`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..compress.recipe import Precision, Recipe, Recovery
from ..profiles import Profile

if TYPE_CHECKING:
    from ..compress.network import Layer, Network

STEPS = (100, 250, 600)
LEARNING_RATE = (1e-4, 1e-2)
TEMPERATURE = (1.0, 8.0)
WEIGHT = (0.5, 1.0)
DEFAULT_RECOVERY = Recovery(steps=STEPS[1], learning_rate=2e-3, temperature=4.0, weight=0.9)

Parameters = Mapping[str, int | float]


class Suggester(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_int(self, name: str, low: int, high: int, /) -> int:
        """An integer in low..high."""
        ...

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = False) -> float:
        """A float in low..high."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLevels:
    """A channel group with at least two keep levels, ascending; the last is the full count."""

    name: str
    layers: tuple[str, ...]
    levels: tuple[int, ...]

    @property
    def channels(self) -> int:
        """How many channels the group has in the original model."""
        return self.levels[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A layer or group that the search leaves alone, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """What may be chosen: keep levels per group, int8 per layer, recovery. `excluded` is what may not, with reasons.

    `ruled_out` tells by group how many channel counts the target's channel multiple takes away.
    """

    groups: tuple[GroupLevels, ...]
    quantizable: tuple[str, ...]
    excluded: tuple[Excluded, ...] = ()
    ruled_out: Mapping[str, int]

    @classmethod
    def of(cls, network: "Network", profile: Profile) -> "SearchSpace":
        """The space of a traced network on a target."""
        from ..compress.channels import levels

        excluded = [Excluded(name=item.name, reason=item.reason) for item in network.excluded]
        groups, ruled_out = [], {}
        for group in network.groups:
            choices = levels(group, profile.channel_multiple)
            ruled_out[group.name] = group.channels - len(choices)
            if len(choices) > 1:
                groups.append(GroupLevels(name=group.name, layers=group.layers, levels=choices))
            else:
                reason = f"its {group.channels} channels are no more than the target's multiple of {choices[0]}"
                excluded.append(Excluded(name=group.name, reason=reason))
        refused = {layer.name: _refusal(layer, profile) for layer in network.layers}
        excluded += [Excluded(name=name, reason=reason) for name, reason in refused.items() if reason]
        quantizable = tuple(name for name, reason in refused.items() if not reason)
        return cls(groups=tuple(groups), quantizable=quantizable, excluded=tuple(excluded), ruled_out=ruled_out)

    @property
    def size(self) -> int:
        """The exact number of recipes; learning rate, temperature and weight, which are continuous, count once."""
        levels = math.prod(len(group.levels) for group in self.groups)
        precisions: int = 2 ** len(self.quantizable)
        return levels * precisions * (1 + len(STEPS))

    @property
    def dimensions(self) -> int:
        """How many parameters a trial has at most."""
        return len(self.groups) + len(self.quantizable) + 5

    def suggest(self, trial: Suggester) -> Recipe:
        """The recipe of a trial; asks for each parameter in a fixed order."""
        keep: dict[str, int] = {}
        for group in self.groups:
            count = group.levels[trial.suggest_int(f"keep/{group.name}", 0, len(group.levels) - 1)]
            if count < group.channels:
                keep[group.name] = count
        precision: dict[str, Precision] = {
            layer: "int8" for layer in self.quantizable if trial.suggest_int(f"precision/{layer}", 0, 1)
        }
        return Recipe(keep=keep, precision=precision, recovery=_suggest_recovery(trial))

    def parameters(self, recipe: Recipe) -> dict[str, int | float]:
        """The parameters that `suggest` turns into this recipe. ValueError when it lies outside the space."""
        values: dict[str, int | float] = {
            f"keep/{group.name}": group.levels.index(recipe.keep.get(group.name, group.channels)) for group in self.groups
        }
        values |= {f"precision/{name}": int(recipe.precision.get(name) == "int8") for name in self.quantizable}
        values["recover"] = int(recipe.recovery is not None)
        if recipe.recovery is not None:
            values["steps"] = STEPS.index(recipe.recovery.steps)
            values["learning_rate"] = recipe.recovery.learning_rate
            values["temperature"] = recipe.recovery.temperature
            values["weight"] = recipe.recovery.weight
        return values

    def uniform_int8(self) -> Recipe:
        """Every layer in int8 that can be, nothing else."""
        return Recipe(precision=dict.fromkeys(self.quantizable, "int8"))

    def smallest(self) -> Recipe:
        """The recipe with the fewest bytes: lowest keep levels, int8 everywhere."""
        keep = {group.name: group.levels[0] for group in self.groups}
        return Recipe(keep=keep, precision=dict.fromkeys(self.quantizable, "int8"))

    def smallest_bytes(self, network: "Network") -> int:
        """A lower bound in bytes of every artifact in the space; an int8 layer may be larger than float32 when tiny."""
        float32 = network.cost(Recipe(keep=self.smallest().keep))
        int8 = network.cost(self.smallest())
        return sum(min(a.bytes, b.bytes) for a, b in zip(float32.layers, int8.layers, strict=True))


def _refusal(layer: "Layer", profile: Profile) -> str | None:
    """Why the layer stays float32 on the target, or None."""
    operator = {"conv": "Conv", "linear": "Gemm"}[layer.kind]
    if layer.uses > 1:
        return f"it is called {layer.uses} times, and its integer bias fits the scale of one input only"
    if "int8" not in profile.precisions:
        return f"target '{profile.name}' runs no int8"
    if operator not in profile.int8_operators:
        return f"target '{profile.name}' runs {operator} in float32 only"
    return None


def _suggest_recovery(trial: Suggester) -> Recovery | None:
    if not trial.suggest_int("recover", 0, 1):
        return None
    return Recovery(
        steps=STEPS[trial.suggest_int("steps", 0, len(STEPS) - 1)],
        learning_rate=trial.suggest_float("learning_rate", *LEARNING_RATE, log=True),
        temperature=trial.suggest_float("temperature", *TEMPERATURE),
        weight=trial.suggest_float("weight", *WEIGHT),
    )
