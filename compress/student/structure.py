"""What a recipe takes out of a network: channels, blocks, ranks, before anything is fitted or rounded."""

from collections.abc import Callable, Collection, Mapping
from functools import cached_property

from torch import Tensor

from ...errors import StageError
from ...tasks.task import Task
from ..graph.blocks import Block, remove_blocks
from ..graph.factors import factor_name
from ..graph.network import Network
from ..levels.database import LevelDatabase
from ..levels.importance import RemovalScores, Scores, magnitude_scores, taylor_scores
from ..levels.sparse import require_fours
from ..options import CompressorOptions
from ..recipe import Precision, Recipe
from ..stages import StageClock
from .low_rank import factorize
from .prune import prune, removed_units
from .samples import Samples
from .student import Student


class Structure:
    """Makes students of one network that have all that is left of it, with the original's weights.

    `database` is asked for when the first recipe needs it.
    """

    def __init__(
        self,
        task: Task,
        network: Network,
        options: CompressorOptions,
        samples: Samples,
        database: Callable[[], LevelDatabase],
    ):
        self.task, self.network, self.options, self.samples = task, network, options, samples
        self._database = database

    def restructured(self, recipe: Recipe, clock: StageClock) -> Student:
        """A copy of the model without channels and blocks, its layers factored, nothing rounded yet."""
        with clock.stage("prune"):
            removed = removed_units(
                self.network.group_by_name, recipe.keep, self.scores(recipe.keep) if recipe.keep else {}
            )
            module = prune(self.network.module, self.network.channels, removed)
            remove_blocks(module, self.blocks(recipe))
            moments = self.second_moments(recipe, removed)
            database = self._database() if moments else None
            factored = factorize(module, self._ranks(recipe), moments, database)
        precision = self._precision(recipe, factored)
        student = Student(module=module, removed=removed, factored=factored, precision=precision)
        require_fours(module, student.sparse)
        return student

    def scores(self, groups: Collection[str]) -> Scores:
        """Importance of every removable channel of these groups, by the chosen method."""
        if self.options.importance == "reconstruction":
            return self._removals.of(groups)
        return self._scores

    @cached_property
    def _removals(self) -> RemovalScores:
        return RemovalScores(self.network.groups, self._scores, self._database().removal)

    @cached_property
    def _scores(self) -> Scores:
        network = self.network
        if self.options.importance == "taylor":
            source = self.samples.training(64, self.samples.seed_for("importance"))
            batches = [next(source) for _ in range(8)]
            return taylor_scores(network.module, network.channels, self.task.loss, batches)
        return magnitude_scores(network.module, network.groups)

    def blocks(self, recipe: Recipe) -> list[Block]:
        """The blocks that the recipe removes. ValueError for one that the model does not have."""
        by_name = {block.name: block for block in self.network.blocks}
        unknown = [name for name in recipe.skip if name not in by_name]
        if unknown:
            names = ", ".join(by_name) or "none"
            raise ValueError(f"the model has no residual block {unknown[0]!r}: its blocks are {names}")
        return [by_name[name] for name in recipe.skip]

    def second_moments(self, recipe: Recipe, removed: frozenset[int]) -> dict[str, Tensor]:
        """E[x xᵀ] of the inputs of the layers to factor, in the original model, for channels that remain.

        Not of wide layers, whose moments are in blocks.
        """
        if not self.options.reconstruct:
            return {}
        moments = {}
        for name in self._ranks(recipe):
            if name not in self._database().moments:
                raise ValueError(f"{name!r} is no layer that can be factored")
            second, *blocks = self._database().moments[name].second
            if blocks:
                continue
            inputs = self.network.kept_inputs(name, removed)
            moments[name] = second if inputs is None else second[inputs][:, inputs]
        return moments

    def _ranks(self, recipe: Recipe) -> Mapping[str, int]:
        gone = self._layers_of_blocks(recipe)
        return {name: rank for name, rank in recipe.rank.items() if name not in gone}

    def _layers_of_blocks(self, recipe: Recipe) -> set[str]:
        """The layers that go with the removed blocks."""
        return {layer for block in self.blocks(recipe) for layer in block.layers}

    def _precision(self, recipe: Recipe, factored: tuple[str, ...]) -> dict[str, Precision]:
        """Precisions of the layers that remain; both factors of a layer have the layer's precision."""
        layers = {layer.name: layer for layer in self.network.layers}
        for name, kind in recipe.precision.items():
            reason = layers[name].refusal(kind) if name in layers else "the model has no such layer"
            if reason:
                raise StageError(f"{name!r} cannot be {kind}: {reason}", stage="calibrate")
        gone = self._layers_of_blocks(recipe)
        precision = {name: kind for name, kind in recipe.precision.items() if name not in gone}
        return precision | {factor_name(name): precision[name] for name in factored if name in precision}
