"""What is known of the original once, and every student is compared with: answers, distance, statistics."""

from collections.abc import Callable, Iterable, Mapping, Set
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, fx

from ...tasks.data import sample_count
from ...tasks.outputs.derive import output_kinds
from ...tasks.plain.devices import CPU, on
from ...tasks.plain.parts import in_parts
from ...tasks.quality import outputs_of
from ...tasks.splits.grouping import Inputs
from ...tasks.task import Task
from ..graph.devices import on_device
from ..graph.graph import batch_norms, fold_batch_norms
from ..graph.graph import running_means as names_of_running_means
from ..graph.network import Network
from ..levels.activations import Observed
from ..options import CompressorOptions
from ..stages import StageClock, halving, in_time
from .distance import Distance
from .effort import LEAST, answers_the_same_in_bfloat16, samples_within
from .normalization import Moments, foreign_norms, moments_of, relearning
from .refit import affordable_samples
from .rounded_activations import observed_in_original
from .samples import Samples

T = TypeVar("T")
FEW_BATCHES = 10  # over so many running statistics average
RELEARNED = 0.01  # of a distance: what the least drop that can be told shows
_DISTANCE_SAMPLES = 64  # from which scales and weights of a distance are taken
_OBSERVED = 64  # samples at once, whose ranges are observed


class Original:
    """The original of a task, or the original on smaller images: then answers and normalizations are judged
    by `whole`, the one on whole images.

    Everything is computed when it is asked for, on the device of the options, and kept on the CPU. `between`
    is called in the middle of long work. For statistics `at_once` samples run at once, at first as many as
    are affordable.
    """

    def __init__(
        self,
        task: Task,
        network: Network,
        options: CompressorOptions,
        samples: Samples,
        *,
        between: Callable[[], None],
        whole: "Original | None" = None,
    ):
        self.task, self.network, self.options, self.samples = task, network, options, samples
        self.between = between
        self.whole = whole or self
        self.device = torch.device(options.device)
        self.at_once = affordable_samples(network.module)

    @cached_property
    def placed(self) -> fx.GraphModule:
        """The original where it computes: itself on the CPU, else a copy. Raises StageError if that does not
        fit.
        """
        with StageClock().stage("reconstruct"):
            return on_device(self.network.module, self.device)

    @cached_property
    def teacher(self) -> fx.GraphModule:
        """The original with folded normalization."""
        return fold_batch_norms(self.network.module)

    @cached_property
    def ranges(self) -> Mapping[str, Observed]:
        """By node of the teacher, the values of all tensors that recipes of precisions alone can need."""
        names = [layer.name for layer in self.network.layers]
        conventions = {form.activations for form in self.options.formats}
        teacher = on_device(self.teacher, self.device)
        return self.calibrated(
            lambda batches: observed_in_original(teacher, names, conventions, batches),
            self.options.calibration_samples,
        )

    def calibrated(self, run: Callable[[Iterable[Inputs]], T], count: int) -> T:
        """What `run` gives for about `count` of the calibration inputs, in smaller batches where memory runs
        out.
        """
        made, _ = halving(
            _OBSERVED,
            lambda size: run(in_time(self.samples.calibration_batches(count, size), self.between)),
            what="a batch whose ranges are observed",
            stage="calibrate",
            least=self.samples.fixed_batch or 1,
        )
        return made

    @cached_property
    def mixed(self) -> bool:
        """Whether answers and statistics may be compared in bfloat16."""
        if self.whole is not self:
            return self.whole.mixed
        inputs, _ = self.samples.largest(LEAST, seed=1)
        fixed = self.samples.fixed_batch or LEAST
        inputs = tuple(x[:fixed] for x in inputs)
        return self._on_some(
            inputs, lambda some: answers_the_same_in_bfloat16(self.placed, some, self.distance)
        )

    @cached_property
    def distance(self) -> Distance:
        """How far answers are from the original's, by what the task's outputs mean."""
        if self.whole is not self:
            return self.whole.distance
        return Distance.of(self.task.outputs or output_kinds(self.task), self._answers[0])

    @cached_property
    def distance_in_training(self) -> Distance:
        """The same, weighted so that it means as much as the task's loss."""
        if self.whole is not self:
            return self.whole.distance_in_training
        return self.distance.weighted(self.task.loss, *self._answers)

    @cached_property
    def _answers(self) -> tuple[tuple[Tensor, ...], Any]:
        """The original's answers to some training samples, and the targets."""
        # a fixed seed: runs with any seed share the measured sensitivities
        inputs, targets = self.samples.largest(_DISTANCE_SAMPLES, seed=1)
        return self._in_parts(inputs), targets

    @cached_property
    def foreign_norms(self) -> Set[str]:
        """The normalizations whose statistics are not those of the training split."""
        if self.whole is not self:
            return self.whole.foreign_norms
        return foreign_norms(self.network.module, self.moments)

    @cached_property
    def frozen_norms(self) -> Set[str]:
        """The normalizations whose statistics recovery keeps: foreign ones, or all.

        All where the training split has few batches and the original answers otherwise with the statistics
        of one: recovery would have to repair that first. All where the model takes one batch size only,
        which may be too small to learn any.
        """
        norms = {node.name for node in batch_norms(self.network.module)}
        if not norms or self.samples.fixed_batch:
            return norms
        count, size = sample_count(self.task.train), self.options.batch_size
        if count is None or count >= FEW_BATCHES * size:
            return self.foreign_norms
        inputs, _ = self.samples.largest(size, seed=1)
        changed = self._on_some(inputs, lambda some: relearning(self.placed, some, self.distance))
        return norms if changed > RELEARNED else self.foreign_norms

    def _in_parts(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """The original's outputs, of a part after the other where memory runs out."""
        whole = len(inputs[0])

        def answers(*part: Tensor) -> tuple[Tensor, ...]:
            return on(outputs_of(self.placed, part), CPU)

        def run(count: int) -> tuple[Tensor, ...]:
            return tuple(in_parts(answers, inputs, None if count == whole else count))

        least, what = self.samples.fixed_batch or 1, "a batch of samples"
        return halving(whole, run, what=what, stage="reconstruct", least=least)[0]

    def _on_some(self, inputs: Inputs, run: Callable[[Inputs], T]) -> T:
        """What `run` gives for the inputs, or for half of them where memory runs out."""
        made, _ = halving(
            len(inputs[0]),
            lambda count: run(tuple(x[:count] for x in inputs)),
            what="a batch of samples",
            stage="reconstruct",
            least=self.samples.fixed_batch or 1,
        )
        return made

    @cached_property
    def moments(self) -> list[Mapping[str, Moments]]:
        """The moments of each batch of `statistics`; empty without normalizations."""
        if not batch_norms(self.network.module):
            return []
        return self.in_halves(
            lambda: moments_of(self.placed, in_time(self.statistics(), self.between), mixed=self.mixed)
        )

    def in_halves(self, attempt: Callable[[], T]) -> T:
        """What `attempt` gives, which runs the batches of `statistics` beside `moments`. Where memory runs
        out, both are made anew with half as many samples at once.
        """

        def run(at_once: int) -> T:
            if at_once != self.at_once:
                self.at_once = at_once
                vars(self).pop("moments", None)
            return attempt()

        least, what = self.samples.fixed_batch or 1, "a batch for statistics"
        made, _ = halving(self.at_once, run, what=what, stage="reconstruct", least=least)
        return made

    def statistics(self) -> list[Inputs]:
        """The training inputs from which the statistics of normalizations are taken, in batches."""
        count = samples_within(self.network, self.options.statistics_samples)
        return self.samples.in_parts(self.samples.augmented("statistics", count), most=self.at_once)

    def parts(self, batches: list[Inputs]) -> list[Inputs]:
        """The batches in parts that the memory allows, the same on every device."""
        return self.samples.in_parts(batches, most=affordable_samples(self.network.module))

    @cached_property
    def running_means(self) -> frozenset[str]:
        """The names of the normalizations' running means."""
        return frozenset(names_of_running_means(self.network.module))
