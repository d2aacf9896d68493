"""Samples of several shapes: a batch holds one shape, so that they come in several batches.

Inputs of equal shapes are joined. What belongs to a whole split (outputs, targets) is one tensor where shapes
are equal, and else a list with one tensor for each sample.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

Inputs = tuple[Tensor, ...]


def collated(samples: Sequence[Any]) -> list[Any]:
    """The samples as one batch; where their shapes differ, as one for each shape."""
    try:
        return [default_collate(list(samples))]
    except RuntimeError:  # it cannot stack them
        groups: dict[Any, list[Any]] = {}
        for sample in samples:
            groups.setdefault(form_of_sample(sample), []).append(sample)
        if len(groups) == 1:
            raise
        return [default_collate(group) for group in groups.values()]


def form_of_sample(value: Any, *, batched: bool = False) -> Any:
    """What must be equal for two samples, or with `batched` two batches, to go into one batch."""
    if isinstance(value, Tensor | np.ndarray):
        return tuple(value.shape[batched:])
    if isinstance(value, Mapping):
        return tuple((key, form_of_sample(part, batched=batched)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(form_of_sample(part, batched=batched) for part in value)
    return None


def by_shape(batches: Iterable[Inputs]) -> list[Inputs]:
    """The inputs of all batches, those of equal shapes joined, in the order in which the shapes came."""
    groups: dict[Any, list[Inputs]] = {}
    for inputs in batches:
        groups.setdefault(form_of_sample(inputs, batched=True), []).append(inputs)
    return [
        tuple(torch.cat([x.detach() for x in column]) for column in zip(*group, strict=True))
        for group in groups.values()
    ]


def spread(groups: Sequence[Inputs], count: int) -> list[Inputs]:
    """About `count` of the samples: the first ones of each group; of groups all over where there are more."""
    chosen = groups[:: max(1, len(groups) // count)]
    total = sum(len(group[0]) for group in chosen)
    if total <= count:
        return list(chosen)
    return [tuple(x[: max(1, len(x) * count // total)] for x in group) for group in chosen]


def rejoined(parts: Sequence[Any]) -> Any:
    """One value from several that `concatenated` returned: where one is a list of samples, a list."""
    first = parts[0]
    if isinstance(first, dict):
        whole = {}
        for key in first:
            whole[key] = rejoined([part[key] for part in parts])
        return whole
    if isinstance(first, tuple):
        return tuple(rejoined(column) for column in zip(*parts, strict=True))
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if len(tensors) == len(parts) and len({part.shape[1:] for part in tensors}) == 1:
        return torch.cat(tensors)
    return list(chain.from_iterable(parts))


def chosen_samples(targets: Any, positions: slice | Tensor) -> Any:
    """The batched targets at these positions: tensors by dimension 0, containers part by part, lists item by
    item.
    """
    if isinstance(targets, Tensor):
        return targets[positions]
    if isinstance(targets, Mapping):
        return {key: chosen_samples(part, positions) for key, part in targets.items()}
    if isinstance(targets, tuple):
        return tuple(chosen_samples(part, positions) for part in targets)
    if isinstance(positions, slice):
        return targets[positions]
    return [targets[position] for position in positions.tolist()]


def concatenated(parts: Sequence[Any]) -> Any:
    """One value from those of several batches: tensors joined along dimension 0, or a list of all samples
    where their shapes differ; containers part by part.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        if len({part.shape[1:] for part in parts}) > 1:
            return [sample for part in parts for sample in part.detach()]
        return torch.cat([part.detach() for part in parts])
    if isinstance(first, dict):
        joined = {}
        for key in first:
            joined[key] = concatenated([part[key] for part in parts])
        return joined
    if isinstance(first, list | tuple) and first and not isinstance(first[0], str):
        return tuple(concatenated(part) for part in zip(*parts, strict=True))
    return list(chain.from_iterable(parts))


class Pools:
    """Collects batches until one of their shapes has `size` samples, or there are too many in all."""

    MOST = 8  # times `size`

    def __init__(self, size: int):
        self._size = size
        self._pools: dict[Any, list[tuple[Inputs, Any]]] = {}

    def filled(self, inputs: Inputs, targets: Any) -> Iterator[tuple[Inputs, Any]]:
        """Takes a batch in; yields the pools that are now due."""
        key = form_of_sample((inputs, targets), batched=True)
        self._pools.setdefault(key, []).append((inputs, targets))
        counts = {form: _count(pool) for form, pool in self._pools.items()}
        if counts[key] >= self._size:
            yield self._taken(key)
        elif sum(counts.values()) > self.MOST * self._size:
            yield self._taken(max(counts, key=lambda form: counts[form]))

    def rest(self) -> Iterator[tuple[Inputs, Any]]:
        """What is left."""
        for key in list(self._pools):
            yield self._taken(key)

    def _taken(self, key: Any) -> tuple[Inputs, Any]:
        inputs, targets = zip(*self._pools.pop(key), strict=True)
        return by_shape(inputs)[0], concatenated(targets)


def _count(pool: Sequence[tuple[Inputs, Any]]) -> int:
    return sum(len(inputs[0]) for inputs, _ in pool)
