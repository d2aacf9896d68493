"""The samples of the training split that compression reads: plain ones to calibrate, augmented ones to
reconstruct and train.
"""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from ...files import digest_of
from ...tasks.data import Batch, Randomness, batches, read
from ...tasks.task import Task
from ..options import CompressorOptions


class Samples:
    """Deterministic in the options' seed; every purpose draws its own."""

    def __init__(self, task: Task, options: CompressorOptions):
        self.task = task
        self.options = options

    def first(self, count: int) -> tuple[Tensor, ...]:
        """The first inputs of the split, never augmented; fewer when it has fewer."""
        parts = [
            inputs for inputs, _ in Randomness(self.options.seed).drawing(read(self.task.train, limit=count))
        ]
        return tuple(torch.cat(column)[:count] for column in zip(*parts, strict=True))

    @cached_property
    def calibration(self) -> tuple[Tensor, ...]:
        """The inputs that ranges are taken from."""
        return self.first(self.options.calibration_samples)

    def calibration_batches(self, count: int, size: int = 64) -> list[tuple[Tensor, ...]]:
        """The first `count` of the calibration inputs in batches."""
        inputs = tuple(x[:count] for x in self.calibration)
        return list(zip(*(torch.split(x, size) for x in inputs), strict=True))

    def augmented(self, purpose: str, count: int, *, seed: int | None = None) -> list[tuple[Tensor, ...]]:
        """Batches of about `count` inputs, augmented as in training: plain training images, which the model
        has learned by heart, cost a ResNet-20 three points of accuracy when its statistics were taken from
        them.
        """
        found = self.training(self.options.batch_size, self.seed_for(purpose) if seed is None else seed)
        drawn: list[tuple[Tensor, ...]] = []
        while sum(len(inputs[0]) for inputs in drawn) < count:  # a loader has batches of its own size
            drawn.append(next(found)[0])
        return drawn

    def training(self, size: int, seed: int) -> Iterator[Batch]:
        """Endless augmented batches with targets."""
        return batches(self.task.train, batch_size=size, seed=seed, augment=self.task.augment)

    def seed_for(self, purpose: str) -> int:
        """A seed of its own for a purpose."""
        return int(digest_of([self.options.seed, purpose])[:8], 16)
