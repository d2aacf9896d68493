"""From a recipe to the compressed torch model: what it removes, what is fitted and rounded, what recovers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from torch import Tensor, fx

from ...errors import StageError
from ...tasks.task import Task
from ..graph.graph import batch_norms, clone
from ..graph.network import Network, broken_values
from ..graph.resolution import Resolution, ResolutionError
from ..levels.database import LevelDatabase, SharedFiles
from ..levels.reconstruct import Rounding
from ..levels.sparse import sparsify_rest
from ..levels.stitch import shift_running_means, stitch
from ..options import CompressorOptions
from ..recipe import Recipe, Recovery
from ..stages import StageClock, in_time
from .effort import samples_within
from .original import Original
from .refit import affordable_samples, refit_beside, round_rest
from .samples import Samples
from .statistics import Statistics
from .structure import Structure
from .student import Student
from .training.fake_quantize import GridWeights, start_on_grid
from .training.judging import Judge
from .training.recover import Schedule, distill

Say = Callable[[str], None]
FROZEN_RATE = 0.25  # of the learning rate: no normalization takes back what a step does to the scale


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
        self.structure = Structure(task, network, options, samples, lambda: self.database)
        self.statistics = Statistics(network, options, self.original)
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
        self.statistics.move(module)
        return Network(module, small.example_inputs).stored_as(small.int8_weights)

    def make(self, recipe: Recipe, clock: StageClock, say: Say, schedule: Schedule | None) -> Student:
        """The student of a recipe; a `schedule` replaces the recipe's steps. Raises StageError."""
        student = self.structure.restructured(recipe, clock)
        if recipe.recovery is not None:  # training changes tensors in place
            student = replace(student, module=clone(student.module))
        with clock.stage("reconstruct"):
            roundings = self._reconstruct(student, recipe)
            coarse = any(student.bits[name] < 8 for name in roundings)
            changed = coarse or student.sparse or self._only_stitched(recipe)
            learned = recipe.recovery is not None and schedule is None and not self.original.frozen_norms
            rounded = {} if learned or not roundings else self.statistics.rounded_activations(student, recipe)
            if roundings and not changed and not rounded and not recipe.changes_layers:
                shift_running_means(student.module, self.database, roundings)
            if (changed or rounded) and self.options.reconstruct and not learned and self.original.moments:
                self.statistics.take(student, batch_norms(student.module), rounded)
        if recipe.recovery is None:
            return _with_steps(student, roundings)
        with clock.stage("recover"):
            grid = start_on_grid(student.module, roundings, student.bits, student.precision)
            steps = self._recover(student.module, recipe, recipe.recovery, grid, say=say, schedule=schedule)
            self.statistics.settle(student, recipe)
        return replace(student, steps=steps)

    def stitched(self, recipe: Recipe) -> Student:
        """The student with the level database's weights, in milliseconds: nothing is fitted or estimated
        anew.

        The recipe's recovery is ignored. Raises StageError.
        """
        clock = StageClock()
        student = self.structure.restructured(recipe, clock)
        with clock.stage("reconstruct"):
            bits, sparse = student.bits, student.sparse
            roundings: dict[str, Rounding] = {}
            if recipe.changes_layers or bits or sparse:
                roundings = stitch(student.module, self.database, student.removed, bits, sparse)
            roundings |= _round_others(student, roundings)
        return _with_steps(student, roundings)

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
