"""From a recipe to the compressed torch model: prunes, removes blocks, factors, reconstructs, recovers."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, fx

from ...errors import StageError
from ...tasks.task import Task
from ..graph.blocks import Block, remove_blocks
from ..graph.factors import factor_name
from ..graph.graph import argument, batch_norms, clone
from ..graph.network import Network, broken_values
from ..graph.resolution import Resolution, ResolutionError
from ..levels.database import LevelDatabase, SharedFiles
from ..levels.importance import RemovalScores, Scores, magnitude_scores, taylor_scores
from ..levels.reconstruct import Rounding
from ..levels.sparse import require_fours, sparsify_rest
from ..levels.stitch import shift_running_means, stitch
from ..options import CompressorOptions
from ..recipe import BITS, DYNAMIC, INTEGER, SPARSE, STORED, Precision, Recipe, Recovery
from ..stages import StageClock, in_time
from .effort import samples_within
from .fake_quantize import GridWeights, start_on_grid
from .judging import Judge
from .low_rank import factorize
from .normalization import Change, move_statistics, restore_statistics
from .original import Original
from .prune import prune, removed_units
from .recover import Schedule, distill
from .refit import affordable_samples, refit_beside, round_rest
from .rounded_activations import dynamically_rounded, rounded_activations
from .samples import Samples

Say = Callable[[str], None]
FROZEN_RATE = 0.25  # of the learning rate: no normalization takes back what a step does to the scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A compressed model with its normalization still in the graph.

    `removed` are the units that it lost, `factored` the layers that became two. `precision` has the layers
    that are not float32, `bits` those whose weights are integers, `sparse` those that are 2:4. `steps` are
    the steps of the convolutions and linear layers in `bits`, empty until they are rounded.
    """

    module: fx.GraphModule
    removed: frozenset[int]
    factored: tuple[str, ...]
    precision: Mapping[str, Precision]
    steps: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def bits(self) -> dict[str, int]:
        """The widths of the layers whose weights become integers, but for sparse ones."""
        kinds = (INTEGER | DYNAMIC | STORED) - SPARSE
        return {name: BITS[kind] for name, kind in self.precision.items() if kind in kinds}

    @property
    def sparse(self) -> frozenset[str]:
        """The layers that are sparse 2:4."""
        return frozenset(name for name, kind in self.precision.items() if kind in SPARSE)


class StudentMaker:
    """Makes the students of one task, from `network`: the original, or the original on smaller images (`at`).

    The answers that count are those of the original on whole images, `original.whole`.
    """

    def __init__(
        self,
        task: Task,
        network: Network,
        options: CompressorOptions,
        samples: Samples,
        levels_dir: Path | None,
        *,
        whole: Original | None = None,
    ):
        self.task, self.network, self.options, self.samples = task, network, options, samples
        self.levels_dir = levels_dir
        self.between: Callable[[], None] = lambda: None  # called in the middle of long work; it may raise
        self.shared_levels: SharedFiles | None = None  # set before the first recipe that needs levels
        self.original = Original(
            task,
            network,
            options,
            samples,
            between=lambda: self.between(),  # noqa: PLW0108 - it changes
            whole=whole,
        )
        self._resized: dict[Resolution, StudentMaker] = {}

    def at(self, resolution: Resolution | None) -> "StudentMaker":
        """The maker of students on smaller images, itself for None. Its normalizations have the statistics of
        smaller images. Raises StageError.
        """
        if resolution is None:
            return self
        if resolution not in self._resized:
            with StageClock().stage("reconstruct"):
                network = self._on_smaller_images(resolution)
                options, samples = self.options, self.samples
                maker = StudentMaker(
                    self.task, network, options, samples, self.levels_dir, whole=self.original
                )
                maker.between = lambda: self.between()  # noqa: PLW0108 - it changes
                maker.shared_levels = self.shared_levels
                self._resized[resolution] = maker
        return self._resized[resolution]

    def _on_smaller_images(self, resolution: Resolution) -> Network:
        try:
            small = self.network.at(resolution)
        except ResolutionError as error:
            raise StageError(f"no images of {resolution}: {error}", stage="reconstruct") from error
        if not (self.options.reconstruct and self.original.moments):
            return small
        module = clone(small.module)
        self._move_statistics(module)
        return Network(module, small.example_inputs).stored_as(small.int8_weights)

    def make(self, recipe: Recipe, clock: StageClock, say: Say, schedule: Schedule | None) -> Student:
        """The student of a recipe; a `schedule` replaces the recipe's steps. Raises StageError."""
        student = self._restructured(recipe, clock)
        with clock.stage("reconstruct"):
            roundings = self._reconstruct(student, recipe)
            coarse = any(student.bits[name] < 8 for name in roundings)
            changed = coarse or student.sparse or self._only_stitched(recipe)
            learned = recipe.recovery is not None and schedule is None and not self.original.frozen_norms
            rounded = {} if learned or not roundings else self.rounded_activations(student, recipe)
            if roundings and not changed and not rounded and not recipe.changes_layers:
                shift_running_means(student.module, self.database, roundings)
            if (changed or rounded) and self.options.reconstruct and not learned and self.original.moments:
                self._take_statistics(student, batch_norms(student.module), rounded)
        if recipe.recovery is None:
            return _with_steps(student, roundings)
        with clock.stage("recover"):
            grid = start_on_grid(student.module, roundings, student.bits, student.precision)
            steps = self._recover(student.module, recipe, recipe.recovery, grid, say=say, schedule=schedule)
            self._settle_statistics(student, recipe)
        return replace(student, steps=steps)

    def stitched(self, recipe: Recipe) -> Student:
        """The student with the level database's weights, in milliseconds: nothing is fitted or estimated
        anew.

        The recipe's recovery is ignored. Raises StageError.
        """
        clock = StageClock()
        student = self._restructured(recipe, clock)
        with clock.stage("reconstruct"):
            bits, sparse = student.bits, student.sparse
            roundings: dict[str, Rounding] = {}
            if recipe.changes_layers or bits or sparse:
                roundings = stitch(student.module, self.database, student.removed, bits, sparse)
            roundings |= _round_others(student, roundings)
        return _with_steps(student, roundings)

    def _restructured(self, recipe: Recipe, clock: StageClock) -> Student:
        """A copy of the model without channels and blocks, its layers factored, nothing rounded yet."""
        with clock.stage("prune"):
            removed = removed_units(
                self.network.group_by_name, recipe.keep, self.scores(recipe.keep) if recipe.keep else {}
            )
            module = prune(self.network.module, self.network.channels, removed)
            remove_blocks(module, self.blocks(recipe))
            moments = self.second_moments(recipe, removed)
            database = self.database if moments else None
            factored = factorize(module, self._ranks(recipe), moments, database)
        precision = self._precision(recipe, factored)
        student = Student(module=module, removed=removed, factored=factored, precision=precision)
        require_fours(module, student.sparse)
        return student

    @cached_property
    def database(self) -> LevelDatabase:
        """The level database of the task; entries are read from disk, or made when they are needed.

        Of a large model half of the samples are enough: each gives many vectors.
        """
        samples = self.options.database_samples
        samples = max(samples // 2, samples_within(self.network, samples))
        return LevelDatabase(
            self.network,
            lambda: self.original.parts(self.samples.augmented("database", samples, seed=0)),  # for any seed
            directory=self.levels_dir,
            shared=self.shared_levels,
            rounding=self.options.rounding,
            device=self.original.device,
            memory_share=self.options.memory_share,
            between=lambda: self.between(),  # noqa: PLW0108 - it changes
        )

    @property
    def uses_database(self) -> bool:
        """Whether any recipe needed the level database."""
        return "database" in vars(self)

    def scores(self, groups: Collection[str]) -> Scores:
        """Importance of every removable channel of these groups, by the chosen method."""
        if self.options.importance == "reconstruction":
            return self._removals.of(groups)
        return self._scores

    @cached_property
    def _removals(self) -> RemovalScores:
        return RemovalScores(self.network.groups, self._scores, self.database.removal)

    @cached_property
    def _scores(self) -> Scores:
        network = self.network
        if self.options.importance == "taylor":
            source = self.samples.training(64, self.samples.seed_for("importance"))
            batches = [next(source) for _ in range(8)]
            return taylor_scores(network.module, network.channels, self.task.loss, batches)
        return magnitude_scores(network.module, network.groups)

    def rounded_activations(
        self, student: Student, recipe: Recipe, *, trained: bool = False
    ) -> dict[str, Change]:
        """By node, how the file of the first format rounds its values: with the ranges of the original where
        its shapes stay and it is not `trained`.
        """
        layers = [name for name, kind in student.precision.items() if kind in INTEGER]
        dynamic = {name for name, kind in student.precision.items() if kind in DYNAMIC}
        changes: dict[str, Change] = dynamically_rounded(student.module, dynamic)
        if layers:
            known = {} if recipe.changes_layers or trained else self.original.ranges
            activations = self.options.formats[0].activations
            changes |= rounded_activations(student.module, layers, activations, known)
        return changes

    def remaining(self, student: Student) -> dict[str, Tensor]:
        """By running mean, the mask of the channels that remain, for normalizations that lost some."""
        if not student.removed:
            return {}
        channels, masks = self.network.channels, {}
        for use in channels.uses:
            if use.parameter in self.original.running_means:
                mask = channels.remaining(use.slots, student.removed)
                if not mask.all():
                    masks[use.parameter] = torch.from_numpy(mask)
        return masks

    def _settle_statistics(self, student: Student, recipe: Recipe) -> None:
        """Behind a training: what normalizations learned is an average over the last few batches, each from
        other weights.
        """
        norms = [node for node in batch_norms(student.module) if argument(node, 3) is not None]
        learned = [node for node in norms if node.name not in self.original.frozen_norms]
        if learned and self.options.reconstruct and self.original.moments:
            rounded = self.rounded_activations(student, recipe, trained=True)
            self._take_statistics(student, learned, rounded)

    def _take_statistics(
        self, student: Student, norms: Sequence[fx.Node], rounded: Mapping[str, Change]
    ) -> None:
        """Gives normalizations the original's statistics, moved by the difference that is measured in the
        finished model: what fitting or training made of them is undone.
        """
        names, masks = {node.name for node in norms}, self.remaining(student)
        restore_statistics(norms, student.module, self.network.module, masks)
        self._move_statistics(student.module, names, masks, rounded)

    def _move_statistics(
        self,
        module: fx.GraphModule,
        names: Set[str] | None = None,
        masks: Mapping[str, Tensor] | None = None,
        rounded: Mapping[str, Change] | None = None,
    ) -> None:
        """Moves the statistics of the named normalizations, or of all (`normalization.move_statistics`)."""
        original = self.original

        def move() -> None:
            moments = original.moments
            wanted = moments[0].keys() if names is None else names
            theirs = [{name: batch[name] for name in batch.keys() & wanted} for batch in moments]
            batches = in_time(original.statistics(), self.between)
            move_statistics(
                module,
                batches,
                theirs,
                masks or {},
                rounded=rounded,
                mixed=original.mixed,
                device=original.device,
            )

        original.in_halves(move)

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
            if name not in self.database.moments:
                raise ValueError(f"{name!r} is no layer that can be factored")
            second, *blocks = self.database.moments[name].second
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

    def _reconstruct(self, student: Student, recipe: Recipe) -> dict[str, Rounding]:
        """Compensates for what was removed and rounded: weights from the database, then fitted layer by
        layer.
        """
        bits, sparse, removed = student.bits, student.sparse, student.removed
        roundings: dict[str, Rounding] = {}
        if self.options.reconstruct and (recipe.changes_layers or bits or sparse):
            if recipe.changes_layers and self.options.refit_samples > 0:
                stitch(student.module, self.database, removed, {})
                roundings = self._refit(student)
            else:
                roundings = stitch(student.module, self.database, removed, bits, sparse)
        return roundings | _round_others(student, roundings)

    def _refit(self, student: Student) -> dict[str, Rounding]:
        network = self.network
        channels = {layer.name: network.kept_outputs(layer.name, student.removed) for layer in network.layers}
        return refit_beside(
            student.module,
            self.original.placed,
            self._refit_inputs,
            channels,
            student.bits,
            sparse=student.sparse,
            rounding=self.options.rounding,
            between=self.between,
            least=self.samples.fixed_batch or 1,
        )

    def _only_stitched(self, recipe: Recipe) -> bool:
        return recipe.changes_layers and self.options.refit_samples == 0 and self.options.reconstruct

    @cached_property
    def _refit_inputs(self) -> list[tuple[Tensor, ...]]:
        count = min(self.options.refit_samples, affordable_samples(self.network.module))
        return self.samples.augmented_by_shape("refit", count)

    def _recover(
        self,
        module: fx.GraphModule,
        recipe: Recipe,
        recovery: Recovery,
        grid: GridWeights,
        *,
        say: Say,
        schedule: Schedule | None,
    ) -> dict[str, Tensor]:
        """Trains the module in place; returns the steps of rounded layers."""
        memory = self.options.memory_bytes
        seed, frozen = self.samples.seed_for(recipe.digest), self.original.frozen_norms
        if frozen and frozen == {node.name for node in batch_norms(self.network.module)}:
            recovery = replace(recovery, learning_rate=FROZEN_RATE * recovery.learning_rate)
        if self.original.whole is not self.original and recovery.features > 0:
            recovery = replace(recovery, features=0.0)  # sums have other sizes on smaller images
        distill(
            module,
            self.original.whole.teacher,
            self.task.loss,
            lambda step: in_time(self.samples.recovery(self.options.batch_size, seed + step), self.between),
            recovery,
            distance=self.original.distance_in_training,
            seed=seed,
            frozen=frozen,
            grid=grid,
            schedule=schedule,
            memory_bytes=memory // 2 if memory else None,
            device=self.options.device,
            validate=None if schedule is None else partial(self._judge(recovery), module),
            progress=say,
        )
        steps = grid.settle(module)
        broken = broken_values(module)
        if broken:
            raise StageError(f"recovery left values that are not finite in {broken[0]}", stage="recover")
        return steps

    def time_step(self, recovery: Recovery) -> float:
        """Seconds of one training step, of a copy of the original. Raises StageError, OutOfTime."""
        module, once = clone(self.network.module), replace(recovery, steps=1)
        start = time.perf_counter()
        grid = start_on_grid(module, {}, {}, {})
        self._recover(module, Recipe(recovery=once), once, grid, say=lambda _: None, schedule=None)
        return time.perf_counter() - start

    def _judge(self, recovery: Recovery) -> Judge:
        held_back, distance = self.samples.held_back(), self.original.distance_in_training
        return Judge(self.original.whole.placed, held_back, distance, temperature=recovery.temperature)


def _round_others(student: Student, roundings: Mapping[str, Rounding]) -> dict[str, Rounding]:
    """Rounds, or makes sparse, the layers that reconstruction left out; returns how they were rounded.

    8 bits are rounded to nearest where they are written.
    """
    others = {name: bits for name, bits in student.bits.items() if bits < 8 and name not in roundings}
    rounded = round_rest(student.module, others)
    sparsify_rest(student.module, student.sparse)
    return rounded


def _with_steps(student: Student, roundings: Mapping[str, Rounding]) -> Student:
    return replace(student, steps={name: rounding.step for name, rounding in roundings.items()})
