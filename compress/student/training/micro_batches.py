"""Micro-batches: a training step in parts that fit into memory, their gradients added up.

The gradient of a mean over a batch is the mean of the gradients over its parts, each weighted with its share
of the samples. So a step is the same as in one batch, up to rounding, for every loss that is a mean over
samples. Batch normalization is the exception: each part is normalized with its own statistics (ghost
batches), and what is learned of them is their mean over the parts, with the momentum of one batch. Hard
samples (`Recovery.hardness`) count by their share in their part.

Source of the latter: Hoffer, Hubara, Soudry, "Train longer, generalize better" (2017), algorithm 1.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from ....errors import StageError
from ....tasks.data import Batch

T = TypeVar("T")
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


def halving(size: int, attempt: Callable[[int], T], *, least: int = 1) -> tuple[T, int]:
    """What `attempt` gives for a size, halved for as long as memory runs out; and the size that did it.

    StageError (memory) where it runs out with the `least`, too.
    """
    while True:
        try:
            return attempt(size), size
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            if size <= least:
                message = f"a training step of {size} samples does not fit into memory: {error}"[:400]
                raise StageError(message, stage="recover", kind="memory") from error
        size = max(least, size // 2)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what was missing, of a device (torch.OutOfMemoryError) or of this machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


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
