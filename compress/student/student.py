"""From a recipe to the compressed torch model: pruned, blocks removed, factored, reconstructed, recovered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, fx

from ...errors import StageError
from ...tasks.quality import evaluate
from ...tasks.task import Task
from ..graph.blocks import Block, remove_blocks
from ..graph.factors import factor_name
from ..graph.graph import fold_batch_norms
from ..graph.network import Network
from ..levels.database import LevelDatabase
from ..levels.importance import Scores, magnitude_scores, taylor_scores
from ..levels.reconstruct import Rounding
from ..levels.sparse import require_fours, sparsify_rest
from ..levels.stitch import stitch
from ..options import CompressorOptions
from ..recipe import BITS, INTEGER, SPARSE, Precision, Recipe
from ..stages import StageClock
from .fake_quantize import GridWeights, start_on_grid
from .low_rank import factorize
from .prune import prune, removed_units
from .recover import Schedule, distill, reestimate_statistics
from .refit import affordable_samples, refit, round_rest
from .samples import Samples

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A compressed model with its normalization still in the graph.

    `removed` are the units that it lost, `factored` the layers that became two, `precision` that of every
    layer that is left and not float32, `steps` those of layers whose weights lie on a grid of fewer than 8
    bits.
    """

    module: fx.GraphModule
    removed: frozenset[int]
    factored: tuple[str, ...]
    precision: Mapping[str, Precision]
    steps: Mapping[str, Tensor]


class StudentMaker:
    """Makes the students of one task."""

    def __init__(
        self,
        task: Task,
        network: Network,
        options: CompressorOptions,
        samples: Samples,
        levels_dir: Path | None,
    ):
        self.task, self.network, self.options, self.samples = task, network, options, samples
        self.levels_dir = levels_dir

    def make(self, recipe: Recipe, clock: StageClock, say: Say, schedule: Schedule | None) -> Student:
        """The student of a recipe; a `schedule` replaces the recipe's steps. Raises StageError."""
        module, removed, factored, precision = self._restructured(recipe, clock)
        bits, sparse = _rounded_layers(precision)
        with clock.stage("reconstruct"):
            roundings = self._reconstruct(module, recipe, removed, bits, sparse)
            if (
                (roundings or sparse or self._only_stitched(recipe))
                and self.options.reconstruct
                and (recipe.recovery is None or schedule is not None)
            ):
                reestimate_statistics(
                    module, self.samples.augmented("statistics", self.options.statistics_samples)
                )
        steps = {name: rounding.step for name, rounding in roundings.items()}
        if recipe.recovery is not None:
            with clock.stage("recover"):
                grid = start_on_grid(module, roundings, bits, precision)
                steps = self._recover(module, recipe, grid, say=say, schedule=schedule)
        return Student(module=module, removed=removed, factored=factored, precision=precision, steps=steps)

    def stitched(self, recipe: Recipe) -> Student:
        """The student as the level database has it, made in milliseconds: nothing is fitted, no statistics
        are estimated.

        The recipe's recovery is ignored. Raises StageError.
        """
        clock = StageClock()
        module, removed, factored, precision = self._restructured(recipe, clock)
        bits, sparse = _rounded_layers(precision)
        with clock.stage("reconstruct"):
            changed = recipe.changes_layers or bits or sparse
            roundings = stitch(module, self.database, removed, bits, sparse) if changed else {}
            roundings |= round_rest(
                module, {name: width for name, width in bits.items() if name not in roundings}
            )
            sparsify_rest(module, sparse)
        steps = {name: rounding.step for name, rounding in roundings.items()}
        return Student(module=module, removed=removed, factored=factored, precision=precision, steps=steps)

    def _restructured(
        self, recipe: Recipe, clock: StageClock
    ) -> tuple[fx.GraphModule, frozenset[int], tuple[str, ...], dict[str, Precision]]:
        """A copy of the model without channels and blocks, layers factored; removed units, factored layers,
        precisions.
        """
        with clock.stage("prune"):
            removed = removed_units(
                self.network.group_by_name, recipe.keep, self.scores if recipe.keep else {}
            )
            module = prune(self.network.module, self.network.channels, removed)
            remove_blocks(module, self.blocks(recipe))
            factored = factorize(module, self._ranks(recipe), self.second_moments(recipe, removed))
        precision = self._precision(recipe, factored)
        require_fours(module, _rounded_layers(precision)[1])
        return module, removed, factored, precision

    @cached_property
    def database(self) -> LevelDatabase:
        """The level database of the task; what it holds is on disk, or made when it is asked for."""
        return LevelDatabase(
            self.network,
            lambda: self.samples.augmented(
                "database", self.options.database_samples, seed=0
            ),  # runs with any seed share it
            directory=self.levels_dir,
            rounding=self.options.rounding,
        )

    @property
    def uses_database(self) -> bool:
        """Whether a recipe so far needed the level database."""
        return "database" in vars(self)

    @cached_property
    def scores(self) -> Scores:
        """Importance of every removable channel; reconstruction tells the order, magnitude where no layer
        reads a channel.
        """
        network = self.network
        if self.options.importance == "taylor":
            found = self.samples.training(64, self.samples.seed_for("importance"))
            return taylor_scores(
                network.module, network.channels, self.task.loss, [next(found) for _ in range(8)]
            )
        scores = magnitude_scores(network.module, network.groups)
        for group in network.groups if self.options.importance == "reconstruction" else ():
            if (removal := self.database.removal(group)) is not None:
                scores |= {group.units[unit].number: float(place) for place, unit in enumerate(removal.order)}
        return scores

    @cached_property
    def teacher(self) -> fx.GraphModule:
        """The original with folded normalization."""
        return fold_batch_norms(self.network.module)

    def blocks(self, recipe: Recipe) -> list[Block]:
        """The blocks that the recipe removes. ValueError for one that the model does not have."""
        known = {block.name: block for block in self.network.blocks}
        unknown = [name for name in recipe.skip if name not in known]
        if unknown:
            raise ValueError(
                f"the model has no residual block {unknown[0]!r}: its blocks are {', '.join(known) or 'none'}"
            )
        return [known[name] for name in recipe.skip]

    def second_moments(self, recipe: Recipe, removed: frozenset[int]) -> dict[str, Tensor]:
        """E[x xᵀ] of the inputs of the layers to be factored, in the original model, for the channels that
        are left.
        """
        found = {}
        for name in self._ranks(recipe) if self.options.reconstruct else ():
            if name not in self.database.moments:
                raise ValueError(f"{name!r} is no layer that can be factored")
            second = self.database.moments[name].second[0]
            kept = self.network.kept_inputs(name, removed)
            found[name] = second if kept is None else second[kept][:, kept]
        return found

    def _ranks(self, recipe: Recipe) -> Mapping[str, int]:
        gone = {layer for block in self.blocks(recipe) for layer in block.layers}
        return {name: rank for name, rank in recipe.rank.items() if name not in gone}

    def _precision(self, recipe: Recipe, factored: tuple[str, ...]) -> dict[str, Precision]:
        """Both factors of a layer have the layer's precision."""
        gone = {layer for block in self.blocks(recipe) for layer in block.layers}
        layers = {layer.name: layer for layer in self.network.layers}
        for name in recipe.precision:
            if name not in layers or layers[name].float_only:
                reason = layers[name].float_only if name in layers else "the model has no such layer"
                raise StageError(f"{name!r} cannot be {recipe.precision[name]}: {reason}", stage="calibrate")
        precision = {name: found for name, found in recipe.precision.items() if name not in gone}
        return precision | {factor_name(name): precision[name] for name in factored if name in precision}

    def _reconstruct(
        self,
        module: fx.GraphModule,
        recipe: Recipe,
        removed: frozenset[int],
        bits: Mapping[str, int],
        sparse: frozenset[str],
    ) -> dict[str, Rounding]:
        """Weights that make up for what was removed and rounded: from the database, then fitted layer by
        layer.
        """
        roundings: dict[str, Rounding] = {}
        if self.options.reconstruct and (recipe.changes_layers or bits or sparse):
            fitted = recipe.changes_layers and self.options.refit_samples > 0
            roundings = stitch(
                module, self.database, removed, *(({}, frozenset()) if fitted else (bits, sparse))
            )
            if fitted:
                roundings = self._refit(module, removed, bits, sparse)
        roundings |= round_rest(
            module, {name: width for name, width in bits.items() if name not in roundings}
        )
        sparsify_rest(module, sparse)
        return roundings

    def _refit(
        self, module: fx.GraphModule, removed: frozenset[int], bits: Mapping[str, int], sparse: frozenset[str]
    ) -> dict[str, Rounding]:
        kept = {layer.name: self.network.kept_outputs(layer.name, removed) for layer in self.network.layers}
        original, method = self.network.module, self.options.rounding
        return refit(module, original, self._refit_inputs, kept, bits, sparse=sparse, rounding=method)

    def _only_stitched(self, recipe: Recipe) -> bool:
        return recipe.changes_layers and self.options.refit_samples == 0 and self.options.reconstruct

    @cached_property
    def _refit_inputs(self) -> tuple[Tensor, ...]:
        count = min(self.options.refit_samples, affordable_samples(self.network.module))
        found = self.samples.augmented("refit", count)
        return tuple(torch.cat(column)[:count] for column in zip(*found, strict=True))

    def _recover(
        self,
        module: fx.GraphModule,
        recipe: Recipe,
        grid: GridWeights,
        *,
        say: Say,
        schedule: Schedule | None,
    ) -> dict[str, Tensor]:
        """Trains the module in place; the steps of rounded layers."""
        assert recipe.recovery is not None
        seed = self.samples.seed_for(recipe.digest)
        distill(
            module,
            self.teacher,
            self.task.loss,
            lambda step: self.samples.training(self.options.batch_size, seed + step),
            recipe.recovery,
            seed=seed,
            grid=grid,
            schedule=schedule,
            validate=self._validate(module) if schedule is not None else None,
            progress=say,
        )
        steps = grid.settle(module)
        broken = [
            name for name, parameter in module.named_parameters() if not torch.isfinite(parameter).all()
        ]
        broken += [
            name for name, buffer in module.named_buffers() if torch.isnan(buffer).any()
        ]  # a mask may be infinite
        if broken:
            raise StageError(f"recovery left values that are not finite in {broken[0]}", stage="recover")
        return steps

    def _validate(self, module: fx.GraphModule) -> Callable[[], float]:
        """The metric of the module on the validation split, negated where lower is better."""
        sign = 1 if self.task.metric.direction == "higher" else -1
        return lambda: sign * evaluate(module, self.task.validation, self.task.metric)


def _rounded_layers(precision: Mapping[str, Precision]) -> tuple[dict[str, int], frozenset[str]]:
    """The widths of layers that get a grid of fewer than 8 bits, and the layers that become sparse."""
    bits = {name: BITS[found] for name, found in precision.items() if found in INTEGER and BITS[found] < 8}
    return bits, frozenset(name for name, found in precision.items() if found in SPARSE)
