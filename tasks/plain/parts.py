"""Models that take batches of one size only: other batches are given to them in parts of this size."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

_FIXED = "fixed batch size"  # in the meta of a traced model


def fix_batch(module: fx.GraphModule, size: int | None) -> None:
    """Notes that a traced model takes batches of this size only; None for any."""
    module.meta[_FIXED] = size


def fixed_batch(module: nn.Module) -> int | None:
    """The only batch size of a traced model; None for one that takes any, and for other modules."""
    size: int | None = getattr(module, "meta", {}).get(_FIXED)
    return size


def parts_of(inputs: tuple[Tensor, ...], size: int) -> list[tuple[Tensor, ...]]:
    """The inputs in batches of this size; the last one is filled up with samples from the start."""
    count = len(inputs[0])
    rows = torch.arange(-(-count // size) * size) % count
    columns = [torch.split(x if len(rows) == count else x[rows], size) for x in inputs]
    return list(zip(*columns, strict=True))


def in_parts(function: Callable[..., Any], inputs: tuple[Tensor, ...], size: int | None) -> Any:
    """What the function makes of the inputs, if it takes batches of `size` only; None for any.

    It returns tensors with the batch as dimension 0, also nested in tuples and lists.
    """
    if size is None or len(inputs[0]) == size:
        return function(*inputs)
    return _joined([function(*part) for part in parts_of(inputs, size)], len(inputs[0]))


def _joined(results: Sequence[Any], count: int) -> Any:
    """The first `count` samples of all results."""
    if isinstance(results[0], Tensor):
        return torch.cat([*results])[:count]
    return tuple(_joined(column, count) for column in zip(*results, strict=True))
