"""Samples of the training split: plain ones to calibrate, augmented ones to reconstruct and train.

Batches for training have any size. All others have that of the model, where it takes only one.

`mixtures` makes inputs between two samples, for distillation: averages and splices. Only the original's
answers count for them, since they have no target. A teacher that answers to points between the samples says
more of its function than by its answers to a few hundred samples. Splices keep what averages blur: each
position is that of a real sample.

DS-CNN with half of its channels, distilled from 200 recordings (600 steps of 64), on 400 others: a KL of 0.34
and 83.5 % of the original's answers with averages in every other step, 0.27 and 87.8 % with averages and
splices in a third each.

Source: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (CVPR 2022), section
3, with the mixtures of Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018), and of Yun et
al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (ICCV 2019).
"""

from collections.abc import Iterator, Sized
from functools import cached_property
from itertools import islice
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ...files import digest_of
from ...tasks.data import Batch, Randomness, batches, chosen, read, sample_count
from ...tasks.plain.parts import parts_of
from ...tasks.splits.grouping import Inputs, by_shape, spread
from ...tasks.task import Split, Task
from ..options import CompressorOptions

IN_PARTS = 32  # samples of a training batch where each takes a call of its own: that is slow
MOST_HELD_BACK = 512
FEW = 20  # samples of a training split of which none are held back
_TRIES = 8


class Samples:
    """Samples by purpose; the options' seed and the purpose decide which."""

    def __init__(self, task: Task, options: CompressorOptions):
        self.task = task
        self.options = options
        self.fixed_batch = task.batch if isinstance(task.batch, int) else None

    def first(self, count: int) -> list[Inputs]:
        """The first inputs of the split, not augmented; those of equal shapes are joined."""
        source = read(self.task.train, limit=count)
        return self._fitting(by_shape(inputs for inputs, _ in Randomness(self.options.seed).drawing(source)))

    def _fitting(self, groups: list[Inputs]) -> list[Inputs]:
        """The same, in parts of the batch size that the model takes, if it takes only one."""
        if self.fixed_batch is None:
            return groups
        return [part for inputs in groups for part in parts_of(inputs, self.fixed_batch)]

    def _some(self, groups: list[Inputs], count: int) -> list[Inputs]:
        """About `count` of the samples, from all over."""
        if self.fixed_batch is None:
            return spread(groups, count)
        return groups[:: max(1, len(groups) * self.fixed_batch // count)]

    @cached_property
    def calibration(self) -> list[Inputs]:
        """The inputs on which ranges of activations are observed, by shape."""
        return self.first(self.options.calibration_samples)

    def calibration_batches(self, count: int, size: int = 64) -> list[Inputs]:
        """About `count` of the calibration inputs in batches."""
        batches: list[Inputs] = []
        for inputs in self._some(self.calibration, count):
            batches += zip(*(torch.split(x, self.fixed_batch or size) for x in inputs), strict=True)
        return batches

    def examples(self) -> Inputs:
        """A few inputs of one shape."""
        return tuple(x[: self.fixed_batch or 4] for x in self.first(4)[0])

    @cached_property
    def of_extreme_shapes(self) -> list[Inputs]:
        """The calibration inputs of the first shape, and of the smallest and the largest other one."""
        first, *others = self.calibration
        others.sort(key=lambda inputs: sum(x[0].numel() for x in inputs))
        return [first, *(others if len(others) < 3 else (others[0], others[-1]))]

    def largest(self, size: int, seed: int) -> Batch:
        """A batch for training of that size; the largest of a few where shapes vary."""
        source = islice(self.training(size, seed), _TRIES)
        chosen = next(source)
        for batch in source:
            if len(chosen[0][0]) >= size:
                break
            chosen = max(chosen, batch, key=lambda one: len(one[0][0]))
        return chosen

    def augmented(self, purpose: str, count: int, *, seed: int | None = None) -> list[Inputs]:
        """Batches of at least `count` inputs in total, augmented as in training.

        Plain training images are memorized by the model: statistics taken from them cost a ResNet-20 three
        points of accuracy.
        """
        source = self.training(self.options.batch_size, self.seed_for(purpose) if seed is None else seed)
        drawn: list[Inputs] = []
        while sum(len(inputs[0]) for inputs in drawn) < count:  # a loader decides the size of its batches
            drawn.append(next(source)[0])
        return self._fitting(drawn)

    def in_parts(self, batches: list[Inputs], *, most: int) -> list[Inputs]:
        """The batches in equal parts of at most so many samples, where the model takes any number."""
        parts: list[Inputs] = []
        for inputs in batches:
            count = 1 if self.fixed_batch else -(-len(inputs[0]) // most)
            parts += zip(*(torch.chunk(x, count) for x in inputs), strict=True)
        return parts

    def augmented_by_shape(self, purpose: str, count: int, *, seed: int | None = None) -> list[Inputs]:
        """The same, `count` or a few more, those of equal shapes joined."""
        drawn = self.augmented(purpose, count, seed=seed)
        return self._some(drawn if self.fixed_batch else by_shape(drawn), count)

    def training(self, size: int, seed: int) -> Iterator[Batch]:
        """Endless augmented batches with targets, smaller where the model takes them in parts."""
        return self._batches(self.task.train, size, seed)

    def recovery(self, size: int, seed: int) -> Iterator[Batch]:
        """The same without the samples that are held back."""
        return self._batches(self._recovery_split, size, seed)

    def _batches(self, split: Split, size: int, seed: int) -> Iterator[Batch]:
        if self.fixed_batch:
            size = max(1, min(size, IN_PARTS) // self.fixed_batch) * self.fixed_batch
        return batches(split, batch_size=size, seed=seed, augment=self.task.augment)

    def held_back(self) -> Iterator[Batch]:
        """Samples of the training split that recovery does not see, to judge it by, not augmented.

        A tenth, at most MOST_HELD_BACK. It does see those of a loader, which cannot leave out any, and of a
        tiny split.
        """
        source = read(self.task.train, batch_size=self.options.batch_size, limit=self._held_back_count)
        yield from Randomness(self.options.seed).drawing(source)

    @cached_property
    def _recovery_split(self) -> Split:
        split = self.task.train
        if isinstance(split, DataLoader):
            return split
        count = len(cast(Sized, split))
        if count < FEW:
            return split
        held_back = set(chosen(count, self._held_back_count))
        return Subset(split, [index for index in range(count) if index not in held_back])

    @cached_property
    def _held_back_count(self) -> int:
        count = sample_count(self.task.train)
        if count is None:
            return MOST_HELD_BACK
        return min(count if count < FEW else count // 10, MOST_HELD_BACK)

    def seed_for(self, purpose: str) -> int:
        """The seed of a purpose."""
        return int(digest_of([self.options.seed, purpose])[:8], 16)


def mixtures(inputs: Inputs, step: int) -> Inputs | None:
    """The inputs of this training step instead of the batch's; None where the samples are to be learned.

    Samples, averages and splices take turns; where there are no averages (tokens), splices take theirs.
    """
    kind = step % 3
    return None if kind == 0 else mixed(inputs) if kind == 1 else spliced(inputs)


def mixed(inputs: Inputs) -> Inputs | None:
    """As many inputs, each made of two samples of the batch; None where none can be made.

    Floating-point inputs are averaged, with weights drawn for each sample. Sequences of integers (N × T × …)
    are spliced. Draws from torch's generator.
    """
    count = len(inputs[0])
    if not _alike(inputs) or not all(x.is_floating_point() for x in inputs):
        return spliced(inputs)
    other, weights = torch.randperm(count), torch.rand(count)
    return tuple(torch.lerp(x[other], x, _along(x, weights)) for x in inputs)


def spliced(inputs: Inputs) -> Inputs | None:
    """As many inputs, each one sample with a run of positions from another; None where none can be made.

    Positions are pixels or times of N × channels × positions…, in one of their dimensions, and those of
    sequences of integers, N × T × …, where the run ends with the sequence. Floating-point inputs without
    positions are averaged. Draws from torch's generator.
    """
    if not _alike(inputs):
        return None
    floats = all(x.is_floating_point() for x in inputs)
    first = 2 if floats else 1
    dims = min(x.dim() for x in inputs)
    if dims <= first:
        return mixed(inputs) if floats else None
    dim = int(torch.randint(first, dims, ())) if floats else 1
    if any(x.shape[dim] < 2 for x in inputs):
        return None
    other, share, start = torch.randperm(len(inputs[0])), float(torch.rand(())), float(torch.rand(()))
    return tuple(_spliced(x, x[other], dim, share, start if floats else 1.0) for x in inputs)


def _alike(inputs: Inputs) -> bool:
    count = len(inputs[0])
    return count > 1 and all(len(x) == count for x in inputs)


def _along(x: Tensor, weights: Tensor) -> Tensor:
    """N weights in a form that multiplies N × …."""
    return weights.to(x.dtype).view(-1, *[1] * (x.dim() - 1))


def _spliced(own: Tensor, other: Tensor, dim: int, share: float, start: float) -> Tensor:
    """`own` with a share of its positions from `other`, at least one and not all; `start` is where in 0..1 of
    what is possible they begin.
    """
    length = own.shape[dim]
    taken = 1 + int(share * (length - 1))
    taken = min(taken, length - 1)
    first = round(start * (length - taken))
    made = own.clone()
    made.narrow(dim, first, taken).copy_(other.narrow(dim, first, taken))
    return made
