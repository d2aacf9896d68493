"""Micro-batches: a training step in parts that fit into memory, their gradients added up.

The gradient of a mean over a batch is the mean of the gradients over its parts, each weighted with its share
of the samples. So a step is the same as in one batch, up to rounding, for every loss that is a mean over
samples. Batch normalization is the exception: each part is normalized with its own statistics (ghost
batches), and what is learned of them is their mean over the parts, with the momentum of one batch. Hard
samples (`Recovery.hardness`) count by their share in their part.

Source of the latter: Hoffer, Hubara, Soudry, "Train longer, generalize better" (2017), algorithm 1.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ....tasks.data import Batch

FEW = 4  # samples whose step is measured
BESIDE = 1.5  # times what is saved for the backward pass a step takes: gradients and values of the moment


def parts_of_batch(batch: Batch, size: int) -> Iterator[tuple[Batch, float]]:
    """The batch in parts of `size` samples, the last one smaller, each with its share of the samples.

    In one part where its targets are of another form than a number of rows.
    """
    inputs, targets = batch
    count = len(inputs[0])
    if size >= count or any(len(x) != count for x in inputs) or not _has_rows(targets, count):
        yield batch, 1.0
        return
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        part = tuple(x[rows] for x in inputs)
        yield (part, _rows(targets, count, rows)), (rows.stop - rows.start) / count


def _has_rows(value: Any, count: int) -> bool:
    """Whether everything in it has a row for each sample."""
    if isinstance(value, Tensor):
        return value.dim() > 0 and len(value) == count
    if isinstance(value, Mapping):
        return all(_has_rows(part, count) for part in value.values())
    return isinstance(value, tuple | list) and (_are_columns(value, count) or len(value) == count)


def _are_columns(values: Sequence[Any], count: int) -> bool:
    return bool(values) and all(_has_rows(part, count) for part in values)


def _rows(value: Any, count: int, rows: slice) -> Any:
    if isinstance(value, Mapping):
        return {key: _rows(part, count, rows) for key, part in value.items()}
    if isinstance(value, tuple | list) and _are_columns(value, count):
        return type(value)(_rows(part, count, rows) for part in value)
    return value[rows]


def saved_bytes(forward: Callable[[], object], *, known: Iterable[Tensor]) -> int:
    """The bytes of what autograd keeps of a forward pass for the backward pass, without the `known` tensors
    (parameters).
    """
    before = {tensor.untyped_storage().data_ptr() for tensor in known}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in before:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = forward()  # what it made keeps the tensors alive: no place in memory counts twice
    del made
    return sum(sizes.values())


def affordable(batch: int, sample_bytes: float, memory_bytes: int, *, multiple: int = 1) -> int:
    """The size of parts: the batch halved until a step fits, at least `multiple`, of which it is one.

    Halves, so that a little more or less memory seldom decides how a training goes.
    """
    size = batch
    while size > multiple and size * sample_bytes * BESIDE > memory_bytes:
        size = -(-size // 2)
    return size if size == batch else max(multiple, size // multiple * multiple)


class Averaged:
    """Tensors that each part of a step changes from the same start, and that end as the mean of the changes.

    For running statistics of batch normalizations.
    """

    def __init__(self, tensors: Sequence[Tensor]):
        self._tensors = tensors
        self._start = [tensor.clone() for tensor in tensors]
        self._sums = [torch.zeros_like(tensor) for tensor in tensors]

    def add(self, share: float) -> None:
        """Takes note of what a part made of them, and puts them back."""
        with torch.no_grad():
            for tensor, start, total in zip(self._tensors, self._start, self._sums, strict=True):
                total.add_(tensor, alpha=share)
                tensor.copy_(start)

    def settle(self) -> None:
        """Sets them to the mean."""
        with torch.no_grad():
            for tensor, total in zip(self._tensors, self._sums, strict=True):
                tensor.copy_(total)

    def undo(self) -> None:
        """Sets them back to the start."""
        with torch.no_grad():
            for tensor, start in zip(self._tensors, self._start, strict=True):
                tensor.copy_(start)
