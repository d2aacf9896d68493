"""SearchSpace: what a recipe may choose, as Optuna parameters and back.

Parameters of a trial: `skip/<block>` (1: the residual block is removed), `keep/<group>` (index into the
group's keep levels, ascending), `precision/<layer>` (index into the layer's precisions, float32 first),
`rank/<layer>` (index into its ranks, ascending, the last is the whole layer), `fused` (1: one node where a
runtime has one kernel), `used_rows` (1: tables without the rows that no input reads), `resolution` (0: whole
images, then smaller ones, the largest first), `recover` (0 or 1), and, only with `recover` = 1: `steps`
(index into STEPS), `learning_rate`, `temperature`, `weight`. A space without recovery asks for `recover` as
well, so that a run may go on with it, but trains nothing whatever the answer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from optuna.trial import FixedTrial

from ...compress.recipe import BITS, Precision, Recipe, Recovery
from ...profiles import Profile
from .legality import float32_reason, legal_precisions

if TYPE_CHECKING:
    from ...compress.graph.network import Network

RECOVER = "recover"
FUSED = "fused"
USED_ROWS = "used_rows"
SAME_FUNCTION = (FUSED, USED_ROWS)  # levels that lose nothing
RESOLUTION = "resolution"
STEPS = (100, 250, 600, 1500, 4000)
LEARNING_RATE = (1e-4, 1e-2)
TEMPERATURE = (1.0, 8.0)
WEIGHT = (0.5, 1.0)
MOST_LEVELS = 16  # of a channel group
DEFAULT_RECOVERY = Recovery(steps=STEPS[1], learning_rate=2e-3, temperature=4.0, weight=0.9)
_RATE_SHARES = (1 / 8, 2.0)  # of its learning rate, for a candidate that is whole and for a badly damaged one

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
    """What may be chosen: keep levels per group, precisions and ranks per layer, blocks, recovery.

    `precisions` has the layers with more than float32, `ranks` those that can be factored, `blocks` the
    removable residual blocks with their layers. `fusable`: whether there is anything that some target has one
    kernel for; `unused_rows`: whether tables have rows that no input reads. `resolutions` are smaller images,
    the largest first. `excluded` is what may not be chosen, and why.
    `ruled_out` tells by group how many channel counts the target's channel multiple takes away. Without
    `recovery` no candidate is trained.
    """

    groups: tuple[GroupLevels, ...]
    precisions: Mapping[str, tuple[Precision, ...]]
    ranks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fusable: bool = False
    unused_rows: bool = False
    resolutions: tuple[tuple[int, int], ...] = ()
    excluded: tuple[Excluded, ...] = ()
    ruled_out: Mapping[str, int]
    recovery: bool = True

    @classmethod
    def of(cls, network: "Network", profile: Profile, *, recovery: bool = True) -> "SearchSpace":
        """The space of a traced network on a target."""
        from ...compress.graph.channels import keep_counts
        from ...compress.graph.factors import rank_levels

        excluded = [Excluded(name=layer.name, reason=layer.reason) for layer in network.excluded]
        groups, ruled_out = [], {}
        for group in network.groups:
            legal = keep_counts(group, profile.channel_multiple)
            choices = thinned(legal)
            ruled_out[group.name] = group.channels - len(legal)
            if len(choices) > 1:
                groups.append(GroupLevels(name=group.name, layers=group.layers, levels=choices))
            else:
                reason = (
                    f"its {group.channels} channels are no more than the target's multiple of {choices[0]}"
                )
                excluded.append(Excluded(name=group.name, reason=reason))
        reasons = {layer.name: float32_reason(layer, profile) for layer in network.layers}
        excluded += [Excluded(name=name, reason=reason) for name, reason in reasons.items() if reason]
        precisions = {layer.name: legal_precisions(layer, profile) for layer in network.layers}
        ranks = {layer.name: rank_levels(layer) for layer in network.layers}
        return cls(
            groups=tuple(groups),
            precisions={name: choices for name, choices in precisions.items() if len(choices) > 1},
            ranks={name: choices for name, choices in ranks.items() if choices},
            blocks={block.name: block.layers for block in network.blocks},
            fusable=profile.fused_operators and network.fusable,
            unused_rows=bool(network.used_rows),
            resolutions=network.resolutions,
            excluded=tuple(excluded),
            ruled_out=ruled_out,
            recovery=recovery,
        )

    @property
    def quantizable(self) -> tuple[str, ...]:
        """The layers that can be int8."""
        return tuple(name for name, choices in self.precisions.items() if "int8" in choices)

    @property
    def has_levels(self) -> bool:
        """Whether there is anything to choose but the recovery."""
        layers = self.blocks or self.groups or self.precisions or self.ranks
        return bool(layers or self.fusable or self.unused_rows or self.resolutions)

    @property
    def size(self) -> int:
        """The exact number of recipes; learning rate, temperature and weight, which are continuous, count
        once.
        """
        levels = math.prod(len(group.levels) for group in self.groups)
        precisions = math.prod(len(choices) for choices in self.precisions.values())
        ranks = math.prod(len(choices) + 1 for choices in self.ranks.values())
        depth: int = 2 ** (len(self.blocks) + self.fusable + self.unused_rows)
        images = 1 + len(self.resolutions)
        return levels * precisions * ranks * depth * images * (1 + len(STEPS) * self.recovery)

    @property
    def dimensions(self) -> int:
        """How many parameters a trial has at most."""
        levels = len(self.blocks) + len(self.groups) + len(self.precisions) + len(self.ranks)
        return levels + self.fusable + self.unused_rows + bool(self.resolutions) + 5 * self.recovery

    def suggest(self, trial: Suggester) -> Recipe:
        """The recipe of a trial; asks for each parameter in a fixed order. Levels of removed layers are
        ignored.
        """
        skip = tuple(name for name in self.blocks if trial.suggest_int(f"skip/{name}", 0, 1))
        keep: dict[str, int] = {}
        for group in self.groups:
            count = group.levels[trial.suggest_int(f"keep/{group.name}", 0, len(group.levels) - 1)]
            if count < group.channels:
                keep[group.name] = count
        precision: dict[str, Precision] = {}
        for layer, choices in self.precisions.items():
            if level := trial.suggest_int(f"precision/{layer}", 0, len(choices) - 1):
                precision[layer] = choices[level]
        rank: dict[str, int] = {}
        for layer, ranks in self.ranks.items():
            if (level := trial.suggest_int(f"rank/{layer}", 0, len(ranks))) < len(ranks):
                rank[layer] = ranks[level]
        fused = bool(self.fusable and trial.suggest_int(FUSED, 0, 1))
        used_rows = bool(self.unused_rows and trial.suggest_int(USED_ROWS, 0, 1))
        resolution = None
        if self.resolutions and (level := trial.suggest_int(RESOLUTION, 0, len(self.resolutions))):
            resolution = self.resolutions[level - 1]
        recovery = _suggest_recovery(trial) if trial.suggest_int(RECOVER, 0, 1) and self.recovery else None
        return self.canonical(
            Recipe(
                keep=keep,
                precision=precision,
                rank=rank,
                skip=skip,
                fused=fused,
                used_rows=used_rows,
                resolution=resolution,
                recovery=recovery,
            )
        )

    def recipe_of(self, parameters: Parameters) -> Recipe:
        """The recipe of a finished trial, with its recovery even where this space has none any more.

        Trials of a space without recovery answered `recover` with anything or not at all.
        """
        trained = all(name in parameters for name in ("steps", "learning_rate", "temperature", "weight"))
        return self.trained().suggest(FixedTrial({**parameters, RECOVER: int(trained)}))

    def trained(self) -> "SearchSpace":
        """The same space, with recovery in any case."""
        return replace(self, recovery=True)

    def canonical(self, recipe: Recipe) -> Recipe:
        """The same recipe without the levels of what its removed blocks take away, blocks inside them
        included.
        """
        gone = {layer for block in recipe.skip for layer in self.blocks[block]}
        if not gone:
            return recipe
        inner = {
            name
            for name in recipe.skip
            for outer in recipe.skip
            if set(self.blocks[name]) < set(self.blocks[outer])
        }
        groups = {group.name for group in self.groups if gone.issuperset(group.layers)}
        return replace(
            recipe,
            skip=tuple(sorted(set(recipe.skip) - inner)),
            keep={name: count for name, count in recipe.keep.items() if name not in groups},
            precision={name: level for name, level in recipe.precision.items() if name not in gone},
            rank={name: rank for name, rank in recipe.rank.items() if name not in gone},
        )

    def parameters(self, recipe: Recipe) -> dict[str, int | float]:
        """The parameters that `suggest` turns into this recipe. ValueError when it lies outside the space."""
        values: dict[str, int | float] = {f"skip/{name}": int(name in recipe.skip) for name in self.blocks}
        values |= {
            f"keep/{group.name}": group.levels.index(recipe.keep.get(group.name, group.channels))
            for group in self.groups
        }
        values |= {
            f"precision/{name}": choices.index(recipe.precision.get(name, "float32"))
            for name, choices in self.precisions.items()
        }
        for name, ranks in self.ranks.items():
            values[f"rank/{name}"] = ranks.index(recipe.rank[name]) if name in recipe.rank else len(ranks)
        if self.fusable:
            values[FUSED] = int(recipe.fused)
        if self.unused_rows:
            values[USED_ROWS] = int(recipe.used_rows)
        if self.resolutions or recipe.resolution:
            values[RESOLUTION] = (None, *self.resolutions).index(recipe.resolution)
        values[RECOVER] = int(self.recovery and recipe.recovery is not None)
        if self.recovery and recipe.recovery is not None:
            values["steps"] = STEPS.index(recipe.recovery.steps)
            values["learning_rate"] = recipe.recovery.learning_rate
            values["temperature"] = recipe.recovery.temperature
            values["weight"] = recipe.recovery.weight
        return values

    def with_free_levels(self, recipe: Recipe) -> Recipe:
        """The same function with whatever kernels the targets have for several operations at once, and
        without rows that no input reads.
        """
        return replace(recipe, fused=self.fusable, used_rows=self.unused_rows)

    def uniform(self, precision: Precision) -> Recipe:
        """Every layer in a precision that can be, nothing else."""
        return Recipe(
            precision={name: precision for name, choices in self.precisions.items() if precision in choices}
        )

    def uniform_int8(self) -> Recipe:
        """Every layer in int8 that can be, nothing else."""
        return self.uniform("int8")

    def smallest(self) -> Recipe:
        """The recipe with the fewest bytes: no removable block, lowest keep levels and ranks, fewest bits."""
        fewest: dict[str, Precision] = {
            name: min(choices, key=BITS.__getitem__) for name, choices in self.precisions.items()
        }
        keep = {group.name: group.levels[0] for group in self.groups}
        rank = {name: ranks[0] for name, ranks in self.ranks.items()}
        skip = tuple(sorted(self.blocks))
        return self.canonical(
            Recipe(keep=keep, precision=fewest, rank=rank, skip=skip, used_rows=self.unused_rows)
        )

    def smallest_bytes(self, network: "Network") -> int:
        """A lower bound in bytes of every artifact in the space: of each layer its smallest precision.

        That need not be the one of the fewest bits: scales and nodes of a tiny layer take more than they
        save, and so do the places of rows of a narrow table.
        """
        smallest = self.smallest()
        precisions = set[Precision](("float32",)).union(*self.precisions.values())
        costs = []
        for precision in sorted(precisions):
            named = {name: precision for name, choices in self.precisions.items() if precision in choices}
            recipe = replace(smallest, precision=named)
            costs += [network.cost(replace(recipe, used_rows=used)) for used in {False, self.unused_rows}]
        by_layer = zip(*(cost.layers for cost in costs), strict=True)
        rest = min(cost.weight_bytes - sum(layer.bytes for layer in cost.layers) for cost in costs)
        total: int = rest + sum(min(cost.bytes for cost in layer) for layer in by_layer)
        return total


def usual_recovery(drop: float, steps: int) -> Recovery:
    """The recovery of a candidate that lost so much, in drops that matter (5 points are 1).

    Its learning rate is in proportion: steps that bring back a candidate without half of its channels harm
    one that is nearly whole (docs/compression.md).
    """
    lowest, highest = _RATE_SHARES
    rate = DEFAULT_RECOVERY.learning_rate * min(max(drop, lowest), highest)
    return replace(DEFAULT_RECOVERY, steps=steps, learning_rate=rate)


def thinned(levels: tuple[int, ...]) -> tuple[int, ...]:
    """At most MOST_LEVELS of the levels, evenly chosen, the ends kept: finer steps change nothing that can be
    measured.
    """
    if len(levels) <= MOST_LEVELS:
        return levels
    return tuple(levels[round(index * (len(levels) - 1) / (MOST_LEVELS - 1))] for index in range(MOST_LEVELS))


def _suggest_recovery(trial: Suggester) -> Recovery:
    return Recovery(
        steps=STEPS[trial.suggest_int("steps", 0, len(STEPS) - 1)],
        learning_rate=trial.suggest_float("learning_rate", *LEARNING_RATE, log=True),
        temperature=trial.suggest_float("temperature", *TEMPERATURE),
        weight=trial.suggest_float("weight", *WEIGHT),
    )
