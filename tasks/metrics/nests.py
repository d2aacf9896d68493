"""Statistics by sample: tensors, or tuples and dictionaries of them, as rows of one array and back."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Rows = np.ndarray[Any, np.dtype[np.float64]]


def rows_of(statistics: Any, samples: int) -> Rows:
    """The numbers of each sample, samples × numbers. ValueError where a tensor has not an entry for each."""
    columns = [np.asarray(part.detach().cpu().double()) for part in _tensors(statistics)]
    for column in columns:
        if column.ndim == 0 or len(column) != samples:
            shape = "×".join(map(str, column.shape)) or "a single number"
            raise ValueError(f"update returned {shape} for {samples} samples, not an entry for each")
    return np.concatenate([column.reshape(samples, -1) for column in columns], axis=1)


def total_of(like: Any, row: Rows) -> Any:
    """One row as the statistics of a single sample are shaped, without the dimension of the samples."""
    shaped, _ = _shaped(like, row)
    return shaped


def _shaped(like: Any, row: Rows) -> tuple[Any, Rows]:
    if isinstance(like, Mapping):
        parts = {}
        for key, part in like.items():
            parts[key], row = _shaped(part, row)
        return parts, row
    if isinstance(like, tuple | list):
        values = []
        for part in like:
            value, row = _shaped(part, row)
            values.append(value)
        return tuple(values), row
    shape = torch.as_tensor(like).shape[1:]
    count = shape.numel()
    return torch.from_numpy(np.array(row[:count])).reshape(shape), row[count:]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    else:
        yield torch.as_tensor(value)
