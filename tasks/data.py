"""Reads splits: the same few functions for map-style datasets and for loaders.

A sample is `(input, target)`; with several inputs it is `((a, b), target)`. Here the inputs of a batch are
always a tuple of tensors, and all its samples have one shape: samples of several shapes come in several
batches (splits/grouping.py). Targets are what the split gives, batched along dimension 0: a tensor, or tuples
and dictionaries of tensors. A dataset with `__getitems__(indices) -> list of samples` is read in whole
batches.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import chain
from types import TracebackType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..errors import TaskError
from .boundary import RECIPE
from .splits.grouping import Inputs, Pools, by_shape, collated, concatenated, form_of_sample
from .task import Split

_FIRST, _BATCH, _BATCH_BYTES = 16, 256, 1 << 25  # samples of a first batch and of later ones; their bytes

Batch = tuple[Inputs, Any]
Augment = Callable[[Any, Any], tuple[Any, Any]]


def sample_count(split: Split) -> int | None:
    """The number of samples; None for a loader of an iterable dataset or with its own batch sampler."""
    if not isinstance(split, DataLoader):
        return len(cast(Sized, split))
    sampler = split.sampler if split.batch_size is not None else None
    if isinstance(split.dataset, IterableDataset) or not isinstance(sampler, Sized):
        return None
    count = len(sampler)
    return count - count % cast(int, split.batch_size) if split.drop_last else count


def fetch(dataset: Dataset[Any], indices: Sequence[int]) -> list[Batch]:
    """The batch of these samples of a map-style dataset; one for each shape where samples differ."""
    many = getattr(dataset, "__getitems__", None)
    samples = many(list(indices)) if callable(many) else [dataset[index] for index in indices]
    return [batch_of(batch) for batch in collated(samples)]


def chosen(count: int, limit: int | None) -> list[int]:
    """Indices in ascending order: all, or `limit` of them drawn at random, always the same ones."""
    if limit is None or limit >= count:
        return list(range(count))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return cast(list[int], order[:limit].sort().values.tolist())


def read(split: Split, *, batch_size: int | None = None, limit: int | None = None) -> Iterator[Batch]:
    """The batches of one pass over a split, in its order.

    With `limit`, that many samples: a fixed random choice from a dataset (which may be sorted by class), or
    the first ones of a loader. A loader keeps its own batch size; without a `batch_size` as many samples of a
    dataset as have about 32 MB, 256 at most.
    """
    if isinstance(split, DataLoader):
        yield from _first(map(batch_of, split), limit)
        return
    indices = chosen(len(cast(Sized, split)), limit)
    start, size = 0, batch_size or _FIRST
    while start < len(indices):
        batches = fetch(split, indices[start : start + size])
        yield from batches
        start += size
        if batch_size is None:
            bytes_ = sum(x.numel() * x.element_size() for inputs, _ in batches for x in inputs)
            size = max(1, min(_BATCH, _BATCH_BYTES * size // max(1, bytes_)))


def arrays(split: Split, *, limit: int | None = None) -> tuple[list[tuple[np.ndarray, ...]], Any]:
    """A split in memory, as `grouped` has it. `limit` as in `read`. TaskError if it is empty."""
    batches = list(Randomness(0).drawing(read(split, limit=limit)))
    if not batches:
        raise TaskError("A split has no samples: train, validation and test all need some.")
    return grouped(batches)


def grouped(batches: Sequence[Batch]) -> tuple[list[tuple[np.ndarray, ...]], Any]:
    """The samples of all batches: one array per input for each shape of inputs, the shape of most samples
    first; and the targets in the same order.
    """
    groups: dict[Any, list[Batch]] = {}
    for inputs, targets in batches:
        groups.setdefault(form_of_sample(inputs, batched=True), []).append((inputs, targets))
    sized = sorted(groups.values(), key=lambda group: -sum(len(inputs[0]) for inputs, _ in group))
    ordered = list(chain.from_iterable(sized))
    inputs_of_groups = by_shape(inputs for inputs, _ in ordered)
    stored = [tuple(x.numpy() for x in inputs) for inputs in inputs_of_groups]
    return stored, concatenated([targets for _, targets in ordered])


def batches(split: Split, *, batch_size: int, seed: int, augment: Augment | None = None) -> Iterator[Batch]:
    """Endless training batches, shuffled anew at each pass; the same for the same seed.

    The incomplete last batch of a pass is dropped (BatchNorm cannot train on one sample) unless it is the
    only one. Where shapes differ, samples of one shape are collected into a batch. A loader keeps its own
    batch size and order. `seed` also seeds what the dataset, the loader and `augment` draw from the global
    generators of torch, numpy and random; the caller's generators do not change.
    """
    return Randomness(seed).drawing(_endless(split, batch_size, augment))


class Randomness:
    """Private states of the generators of torch (CPU), numpy and random, which `with` puts in force."""

    def __init__(self, seed: int):
        self._mine: tuple[Any, Any, Any] = (
            torch.Generator().manual_seed(seed).get_state(),
            np.random.RandomState(seed % 2**32).get_state(),
            random.Random(seed).getstate(),
        )

    def __enter__(self) -> None:
        self._swap()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._swap()

    def drawing(self, source: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches, each fetched with these states in force."""
        iterator = iter(source)
        while True:
            with self:
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch

    def _swap(self) -> None:
        theirs = (torch.get_rng_state(), np.random.get_state(), random.getstate())
        torch_state, numpy_state, python_state = self._mine
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        self._mine = theirs


def _endless(split: Split, batch_size: int, augment: Augment | None) -> Iterator[Batch]:
    while True:
        given = False
        for inputs, targets in (
            map(batch_of, split) if isinstance(split, DataLoader) else _shuffled(split, batch_size)
        ):
            given = True
            yield augmented(augment, inputs, targets) if augment else (inputs, targets)
        if not given:
            raise TaskError(
                "The training split gave no batch: it is empty, or a loader that can be read only once."
            )


def _shuffled(dataset: Dataset[Any], batch_size: int) -> Iterator[Batch]:
    count = len(cast(Sized, dataset))
    order = torch.randperm(count).tolist()
    pools = Pools(batch_size)
    for start in range(0, max(count - batch_size + 1, min(count, 1)), batch_size):
        batches = fetch(dataset, order[start : start + batch_size])
        if len(batches) == 1:
            yield batches[0]
        else:
            for inputs, targets in batches:
                yield from pools.filled(inputs, targets)
    yield from pools.rest()


def augmented(augment: Augment, inputs: Inputs, targets: Any) -> Batch:
    """The batch that `augment` makes; it sees a single input as a tensor, several as a tuple."""
    batch = augment(inputs[0] if len(inputs) == 1 else inputs, targets)
    if not isinstance(batch, list | tuple) or len(batch) != 2:
        raise TaskError(f"augment must return a pair (inputs, targets), but returned {_shape_of(batch)}.")
    return batch_of(batch)


def _first(source: Iterable[Batch], limit: int | None) -> Iterator[Batch]:
    """The first `limit` samples, the last batch cut."""
    if limit is None:
        yield from source
        return
    missing = limit
    for inputs, targets in source:
        size = len(inputs[0])
        if size <= missing:
            yield inputs, targets
        else:
            yield tuple(tensor[:missing] for tensor in inputs), cut(targets, missing)
        missing -= size
        if missing <= 0:
            return


def cut(value: Any, count: int) -> Any:
    """The first `count` samples of batched targets."""
    if isinstance(value, dict):
        return {key: cut(part, count) for key, part in value.items()}
    if isinstance(value, list | tuple) and value and not isinstance(value[0], str | int | float):
        return tuple(cut(part, count) for part in value)
    return value[:count]


def batch_of(value: Any) -> Batch:
    """(inputs, targets) of a collated pair; raises TaskError when it is none, or an input is no tensor."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        recipe = f" {RECIPE}" if isinstance(value, Mapping) else ""
        raise TaskError(f"A split must give pairs (input, target), but gives {_shape_of(value)}.{recipe}")
    raw, targets = value
    if isinstance(raw, Mapping):
        names = ", ".join(map(str, raw))
        raise TaskError(
            f"The inputs of a split have names ({names}): give example_inputs these names too. {RECIPE}"
        )
    inputs = tuple(raw) if isinstance(raw, list | tuple) else (raw,)
    for x in inputs:
        if not isinstance(x, Tensor):
            raise TaskError(
                f"An input of a split is {_shape_of(x)}, not a tensor: convert it in the dataset."
            )
    return inputs, targets


def _shape_of(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, list | tuple | dict) else ""
    return f"a {type(value).__name__}{size}"
