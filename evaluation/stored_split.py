"""StoredSplit: the samples of a split, on disk for the workers that run a model.

A split may be larger than memory, and nobody needs to know its length. It is written once, in shards of about
64 MB, each a folder of .npy files, which a worker maps into its memory one after the other. A board gets each
file once, by its digest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import TaskError
from ..targets.on_device.inputs import Picked
from ..targets.session import Output, Pick, TargetSession
from ..tasks.data import Batch, Randomness, grouped, read
from ..tasks.splits.grouping import chosen_samples, rejoined
from ..tasks.task import Split

VALIDATION_BATCH = 250
SHARD_BYTES = 1 << 26  # of inputs
BATCH_BYTES = 1 << 24  # of inputs that are run at once: a network needs several times as much
KEPT_BYTES = 1 << 20  # of a shard's targets; more are on disk
_TARGETS = "targets.pt"

Part = tuple[tuple[Output, ...], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Some samples in a row, the first of which has the number `first` in the split. Those of one shape stand
    together.
    """

    folder: Path
    first: int
    samples: int
    kept: Any  # the targets, None where they are on disk

    @property
    def targets(self) -> Any:
        """The targets, in the order of the samples."""
        if self.kept is not None:
            return self.kept
        return torch.load(self.folder / _TARGETS, weights_only=True)


class StoredSplit:
    """A split whose samples are in a folder, written on first use. With `limit`, that many samples: a fixed
    random choice from a dataset, or the first ones of a loader.
    """

    def __init__(self, split: Split, folder: Path, *, limit: int | None = None):
        self._split, self._folder, self._limit = split, folder, limit

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """All of it. TaskError if there is no sample."""
        source = Randomness(0).drawing(read(self._split, limit=self._limit))
        shards = tuple(_written(source, self._folder))
        if not shards:
            raise TaskError("A split has no samples: train, validation and test all need some.")
        return shards

    @property
    def inputs(self) -> Path:
        """A folder with samples: latencies are timed with the first ones."""
        return self.shards[0].folder

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.shards[-1].first + self.shards[-1].samples

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of the files that a worker reads."""
        return sum(file.stat().st_size for shard in self.shards for file in shard.folder.glob("*.npy"))

    @property
    def targets(self) -> Any:
        """The targets of the whole split, in memory."""
        return rejoined([shard.targets for shard in self.shards])

    @property
    def batch(self) -> int:
        """How many samples are run at once: fewer where they are large."""
        sample_bytes = max(1, self.size_bytes // self.samples)
        return max(1, min(VALIDATION_BATCH, BATCH_BYTES // sample_bytes))

    def answered(
        self, session: TargetSession, model: Path, *, batch: int, low: int = 0, high: int = Picked.WHOLE
    ) -> Iterator[Part]:
        """The outputs of a model and the targets, part after part; of the samples from `low` to `high` (see
        Picked). Raises StageError.
        """
        whole = (low, high) == (0, Picked.WHOLE)
        for shard in self.shards:
            pick = None if whole else Pick(low=low, high=high, first=shard.first)
            picked = Picked(low, high, first=shard.first).rows(0, shard.samples)
            if not len(picked):
                continue
            rows, targets, done = torch.from_numpy(picked), shard.targets, 0
            for outputs in session.parts(model, shard.folder, batch=batch, pick=pick):
                count = len(outputs[0])
                yield outputs, chosen_samples(targets, rows[done : done + count])
                done += count


def _written(source: Iterator[Batch], folder: Path) -> Iterator[Shard]:
    """The shards that the batches fill, each written when it is full."""
    batches: list[Batch] = []
    number, first, filled = 0, 0, 0
    for batch in source:
        batches.append(batch)
        filled += sum(x.numel() * x.element_size() for x in batch[0])
        if filled >= SHARD_BYTES:
            yield _write(batches, folder / f"{number:05}", first)
            number, first = number + 1, first + sum(len(inputs[0]) for inputs, _ in batches)
            batches, filled = [], 0
    if batches:
        yield _write(batches, folder / f"{number:05}", first)


def _write(batches: list[Batch], folder: Path, first: int) -> Shard:
    folder.mkdir(parents=True, exist_ok=True)
    groups, targets = grouped(batches)
    for number, inputs in enumerate(groups):
        for index, array in enumerate(inputs):
            np.save(folder / (f"{number}_{index}.npy" if number else f"{index}.npy"), array)
    samples = sum(len(inputs[0]) for inputs in groups)
    if _bytes_of(targets) > KEPT_BYTES:
        torch.save(targets, folder / _TARGETS)
        targets = None
    return Shard(folder=folder, first=first, samples=samples, kept=targets)


def _bytes_of(value: Any) -> int:
    """Bytes of the tensors in a nest of targets; 0 where it holds what is no plain data."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        sizes = [_bytes_of(part) for part in value]
        return sum(sizes) if all(size > 0 for size in sizes) else 0
    return 1 if isinstance(value, str | int | float) else 0
