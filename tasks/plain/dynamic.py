"""Dimensions besides the batch that stay free in the file; the data of a search have one size of each."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...errors import TaskError
from ..task import Dynamic, Task

FreeDims = tuple[Mapping[int, str], ...]  # for each input, names by dimension


def free_dims(dynamic: Dynamic, names: Sequence[str], inputs: Sequence[Tensor]) -> FreeDims:
    """What `dynamic` says of each input, by its name or position. TaskError if it does not fit the inputs."""
    by_position: list[Mapping[int, str]] = [{} for _ in inputs]
    sizes: dict[str, int] = {}
    for key, dims in dynamic.items():
        position = names.index(key) if isinstance(key, str) and key in names else key
        if not isinstance(position, int) or not 0 <= position < len(inputs):
            raise TaskError(f"dynamic has the input {key!r}: the model has {', '.join(names)}.")
        by_position[position] = dims
        for dim, name in dims.items():
            _require_dim(key, dim, name, inputs[position])
            size = inputs[position].shape[dim]
            if sizes.setdefault(name, size) != size:
                raise TaskError(
                    f"dynamic calls dimensions of {sizes[name]} and {size} {name!r}: one name has one size."
                )
    return tuple(by_position)


def dims_of_task(task: Task) -> FreeDims:
    """The free dimensions of a plain task, whose inputs have no names."""
    return free_dims(task.dynamic, [str(index) for index in range(len(task.inputs))], task.inputs)


def _require_dim(key: str | int, dim: int, name: str, x: Tensor) -> None:
    place = f"dynamic[{key!r}][{dim!r}]"
    if not isinstance(dim, int) or not 0 < dim < x.ndim:
        raise TaskError(f"{place} is no dimension of that input behind the batch: it has {x.ndim}.")
    if not isinstance(name, str) or not name.isidentifier() or name == "batch":
        raise TaskError(f"{place} is {name!r}: give the dimension a name, such as 'tokens'.")
    if x.shape[dim] < 2:
        raise TaskError(f"{place} has the size {x.shape[dim]} in example_inputs: give it 2 or more there.")


def sizes_in(inputs: Sequence[Tensor], dims: FreeDims) -> dict[str, int]:
    """By name, the sizes that the free dimensions have."""
    sizes = {}
    for x, names in zip(inputs, dims, strict=True):
        for dim, name in names.items():
            sizes[name] = x.shape[dim]
    return sizes


def resized(inputs: Sequence[Tensor], dims: FreeDims, sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
    """The inputs with their free dimensions cut to these sizes, or repeated up to them."""
    changed = []
    for x, names in zip(inputs, dims, strict=True):
        other = x
        for dim, name in names.items():
            other = other.index_select(dim, torch.arange(sizes[name]) % x.shape[dim])
        changed.append(other)
    return tuple(changed)


def smaller(inputs: Sequence[Tensor], dims: FreeDims) -> tuple[Tensor, ...]:
    """The inputs with the first half of each free dimension, at least 2."""
    half = {name: max(2, size // 2) for name, size in sizes_in(inputs, dims).items()}
    return resized(inputs, dims, half)
