"""Dimensions besides the batch that stay free in the file; the data of a search have one size of each."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ...errors import TaskError
from ..task import Dynamic

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


def _require_dim(key: str | int, dim: int, name: str, x: Tensor) -> None:
    place = f"dynamic[{key!r}][{dim!r}]"
    if not isinstance(dim, int) or not 0 < dim < x.ndim:
        raise TaskError(f"{place} is no dimension of that input behind the batch: it has {x.ndim}.")
    if not isinstance(name, str) or not name.isidentifier() or name == "batch":
        raise TaskError(f"{place} is {name!r}: give the dimension a name, such as 'tokens'.")
    if x.shape[dim] < 2:
        raise TaskError(f"{place} has the size {x.shape[dim]} in example_inputs: give it 2 or more there.")


def smaller(inputs: Sequence[Tensor], dims: FreeDims) -> tuple[Tensor, ...]:
    """The inputs with the first half of each free dimension, at least 2."""
    cut = []
    for x, names in zip(inputs, dims, strict=True):
        shorter = x
        for dim in names:
            shorter = shorter.narrow(dim, 0, max(2, x.shape[dim] // 2))
        cut.append(shorter)
    return tuple(cut)
