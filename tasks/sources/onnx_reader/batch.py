"""Files for one batch size: the sizes in them that contain it are computed from the batch instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .graph import Node
from .values import Value


@dataclass(frozen=True, slots=True)
class FixedBatch:
    """The batch size of the file, and by output the shapes that its Reshape nodes take and make with it."""

    size: int
    reshapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def freed(self, node: Node, values: list[Value], batch: Any) -> list[Value]:
        """The values of a node, with sizes for this batch.

        Reshaping keeps the order of the entries, which says where the batch went. A constant that is joined
        with samples, or is their state, is repeated for each. Indices of a mask's entries are for each.
        """
        x = values[0] if values else None
        if node.kind == "Reshape" and isinstance(x, Tensor) and node.outputs[0] in self.reshapes:
            return [x, scaled(*self.reshapes[node.outputs[0]], list(x.shape))]
        sizes = values[1] if len(values) > 1 else None
        if node.kind == "Expand" and isinstance(sizes, list) and len(sizes) > 1 and sizes[0] == self.size:
            return [x, [batch, *sizes[1:]]]
        if node.kind == "Concat" and node.attributes["axis"] and self.size == 1:
            alone = [_is_one(value, 0) for value in values]
            return values if all(alone) else [_repeated(value, 0, batch) for value in values]
        if node.kind == "GatherND" and self.size == 1 and _is_one(values[1], 0) and not _is_one(x, 0):
            return [x, _rows_of_each(values[1], batch)]
        if node.kind in ("LSTM", "GRU", "RNN") and self.size == 1:
            return values[:5] + [_repeated(value, 1, batch) for value in values[5:]]
        return values


def scaled(before: Sequence[int], after: Sequence[int], now: list[Any]) -> list[Any]:
    """The shape that corresponds to `after` where the tensor is `now` instead of `before`.

    Dimensions are taken together until they have the same number of entries before and after. What the
    first ones grew by, the first of the others grows by.
    """
    sizes: list[Any] = list(after)
    left = right = 0
    while left < len(before) and right < len(after):
        start, first, count, target = right, left, before[left], after[right]
        left, right = left + 1, right + 1
        while count != target:
            if count < target and left < len(before):
                count, left = count * before[left], left + 1
            elif target < count and right < len(after):
                target, right = target * after[right], right + 1
            else:
                return sizes
        for index in range(first, left):
            if not (isinstance(now[index], int) and now[index] == before[index]):
                sizes[start] = sizes[start] * now[index] // before[index]
    return sizes


def _rows_of_each(indices: Tensor, batch: Any) -> Tensor:
    """Indices into the only sample, 1 × … × dimensions, for each sample."""
    rows = torch.arange(batch).reshape(-1, *[1] * (indices.dim() - 1))
    sizes = (batch, *indices.shape[1:-1])
    return torch.cat([rows.expand(*sizes, 1), indices[..., 1:].expand(*sizes, -1)], -1)


def _is_one(value: Value, axis: int) -> bool:
    return isinstance(value, Tensor) and isinstance(value.shape[axis], int) and value.shape[axis] == 1


def _repeated(value: Value, axis: int, batch: Any) -> Value:
    """A tensor for one sample as many times as there are samples."""
    if not _is_one(value, axis):
        return value
    sizes: list[Any] = [-1] * value.dim()
    sizes[axis] = batch
    return value.expand(sizes)
