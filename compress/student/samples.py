"""Samples of the training split: plain ones to calibrate, augmented ones to reconstruct and train."""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from ...files import digest_of
from ...tasks.data import Batch, Randomness, batches, joined_tensors, read
from ...tasks.task import Task
from ..options import CompressorOptions


class Samples:
    """Samples by purpose; the options' seed and the purpose decide which."""

    def __init__(self, task: Task, options: CompressorOptions):
        self.task = task
        self.options = options

    def first(self, count: int) -> tuple[Tensor, ...]:
        """The first inputs of the split, not augmented; fewer if it has fewer."""
        source = read(self.task.train, limit=count)
        parts = [inputs for inputs, _ in Randomness(self.options.seed).drawing(source)]
        return tuple(joined_tensors(column, "inputs")[:count] for column in zip(*parts, strict=True))

    @cached_property
    def calibration(self) -> tuple[Tensor, ...]:
        """The inputs on which ranges of activations are observed."""
        return self.first(self.options.calibration_samples)

    def calibration_batches(self, count: int, size: int = 64) -> list[tuple[Tensor, ...]]:
        """The first `count` of the calibration inputs in batches."""
        inputs = tuple(x[:count] for x in self.calibration)
        return list(zip(*(torch.split(x, size) for x in inputs), strict=True))

    def augmented(self, purpose: str, count: int, *, seed: int | None = None) -> list[tuple[Tensor, ...]]:
        """Batches of at least `count` inputs in total, augmented as in training.

        Plain training images are memorized by the model: statistics taken from them cost a ResNet-20 three
        points of accuracy.
        """
        source = self.training(self.options.batch_size, self.seed_for(purpose) if seed is None else seed)
        drawn: list[tuple[Tensor, ...]] = []
        while sum(len(inputs[0]) for inputs in drawn) < count:  # a loader decides the size of its batches
            drawn.append(next(source)[0])
        return drawn

    def training(self, size: int, seed: int) -> Iterator[Batch]:
        """Endless augmented batches with targets."""
        return batches(self.task.train, batch_size=size, seed=seed, augment=self.task.augment)

    def seed_for(self, purpose: str) -> int:
        """The seed of a purpose."""
        return int(digest_of([self.options.seed, purpose])[:8], 16)
