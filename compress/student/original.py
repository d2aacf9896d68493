"""What is known of the original once, and every student is compared with: answers, distance, statistics."""

from collections.abc import Callable, Mapping, Set
from functools import cached_property
from typing import Any

from torch import Tensor, fx

from ...tasks.data import sample_count
from ...tasks.outputs.derive import output_kinds
from ...tasks.quality import outputs_of
from ...tasks.splits.grouping import Inputs
from ...tasks.task import Task
from ..graph.graph import batch_norms, fold_batch_norms
from ..graph.graph import running_means as names_of_running_means
from ..graph.network import Network
from ..levels.activations import Observed
from ..options import CompressorOptions
from ..stages import in_time
from .distance import Distance
from .effort import LEAST, answers_the_same_in_bfloat16, samples_within
from .normalization import Moments, foreign_norms, moments_of, relearning
from .refit import affordable_samples
from .rounded_activations import observed_in_original
from .samples import Samples

FEW_BATCHES = 10  # over so many running statistics average
RELEARNED = 0.01  # of a distance: what the least drop that can be told shows
_DISTANCE_SAMPLES = 64  # from which scales and weights of a distance are taken


class Original:
    """The original of a task, or the original on smaller images: then answers and normalizations are judged
    by `whole`, the one on whole images.

    Everything is computed when it is asked for, and kept. `between` is called in the middle of long work.
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

    @cached_property
    def teacher(self) -> fx.GraphModule:
        """The original with folded normalization."""
        return fold_batch_norms(self.network.module)

    @cached_property
    def ranges(self) -> Mapping[str, Observed]:
        """By node of the teacher, the values of all tensors that recipes of precisions alone can need."""
        names = [layer.name for layer in self.network.layers]
        batches = self.samples.calibration_batches(self.options.calibration_samples)
        conventions = {form.activations for form in self.options.formats}
        return observed_in_original(self.teacher, names, conventions, in_time(batches, self.between))

    @cached_property
    def mixed(self) -> bool:
        """Whether answers and statistics may be compared in bfloat16."""
        if self.whole is not self:
            return self.whole.mixed
        inputs, _ = self.samples.largest(LEAST, seed=1)
        fixed = self.samples.fixed_batch or LEAST
        inputs = tuple(x[:fixed] for x in inputs)
        return answers_the_same_in_bfloat16(self.network.module, inputs, self.distance)

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
        return outputs_of(self.network.module, inputs), targets

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
        changed = relearning(self.network.module, inputs, self.distance) > RELEARNED
        return norms if changed else self.foreign_norms

    @cached_property
    def moments(self) -> list[Mapping[str, Moments]]:
        """The moments of each batch of `statistics`; empty without normalizations."""
        if not batch_norms(self.network.module):
            return []
        batches = in_time(self.statistics(), self.between)
        return moments_of(self.network.module, batches, mixed=self.mixed)

    def statistics(self) -> list[Inputs]:
        """The training inputs from which the statistics of normalizations are taken, in batches."""
        count = samples_within(self.network, self.options.statistics_samples)
        return self.parts(self.samples.augmented("statistics", count))

    def parts(self, batches: list[Inputs]) -> list[Inputs]:
        """The batches in parts that the memory allows."""
        return self.samples.in_parts(batches, most=affordable_samples(self.network.module))

    @cached_property
    def running_means(self) -> frozenset[str]:
        """The names of the normalizations' running means."""
        return frozenset(names_of_running_means(self.network.module))
