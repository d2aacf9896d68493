"""Dimensions whose size varies in the data. They are free, also where the task does not say so: the file must
take all of their sizes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from ..boundary import user_code
from ..plain.call import form_of
from ..plain.dynamic import FreeDims, dims_of_task, resized, sizes_in
from ..quality import outputs_of
from ..task import Task
from .grouping import Inputs
from .shapes import Look


def with_varying_dims(task: Task, looks: Sequence[Look]) -> Task:
    """The plain task with all its free dimensions; where sizes vary, its example has the median size of
    validation (at least 2).
    """
    dims = varying_dims(looks, dims_of_task(task))
    if not any(True for _ in _varying(looks, dims)):
        return task
    usual = {name: max(2, size) for name, size in _median(looks, dims).items()}
    return replace(
        task,
        dynamic={index: names for index, names in enumerate(dims) if names},
        example_inputs=resized(task.inputs, dims, usual),
    )


def names_that_vary(task: Task, looks: Sequence[Look]) -> Mapping[str, tuple[int, int]]:
    """The smallest and the largest size of each free dimension of the task that varies, by its name."""
    dims, ranges = dims_of_task(task), {}
    for index, dim, column in _varying(looks, dims):
        ranges[dims[index][dim]] = min(column), max(column)
    return ranges


def size_notes(task: Task, looks: Sequence[Look]) -> tuple[str, ...]:
    """A sentence for the user about each dimension that varies."""
    form, dims, notes = form_of(task.model), dims_of_task(task), []
    usual = sizes_in(task.inputs, dims)
    for name, (least, most) in names_that_vary(task, looks).items():
        places = []
        for index, names in enumerate(dims):
            label = form.inputs[index] if form else str(index)
            places += [f"dimension {dim} of {label}" for dim in names if names[dim] == name]
        notes.append(
            f"{name} ({', '.join(places)}) varies in the data, {least} to {most} were seen: it stays free in "
            f"the file. Its median is {usual[name]}."
        )
    return tuple(notes)


def require_all_sizes(task: Task, looks: Sequence[Look]) -> None:
    """Raises TaskError unless the model runs on the smallest and on the largest sample that was seen."""
    dims = dims_of_task(task)
    if not names_that_vary(task, looks):
        return
    ordered = sorted(looks, key=lambda look: prod(sizes_in(look.inputs, dims).values()))
    for look in (ordered[0], ordered[-1]):
        remedy = f"{look.split} has samples of this size: pad or crop all to one, or make the model take any"
        require_size(task, look.inputs, sizes_in(look.inputs, dims), remedy=remedy)


def require_size(task: Task, inputs: Inputs, sizes: Mapping[str, int], *, remedy: str) -> None:
    """Raises TaskError, which names these sizes and the remedy, unless the model runs on the inputs."""
    text = ", ".join(f"{name}={size}" for name, size in sizes.items())
    with user_code(f"model with inputs of {text}", remedy=remedy):
        outputs_of(task.model, inputs)


def _median(looks: Sequence[Look], dims: FreeDims) -> Mapping[str, int]:
    """The sizes of the middle sample of validation, of those that were seen."""
    sizes = []
    for look in looks:
        if look.split == "validation":
            sizes += [sizes_in(look.inputs, dims)] * look.count
    sizes.sort(key=lambda one: prod(one.values()))
    return sizes[len(sizes) // 2]


def varying_dims(looks: Sequence[Look], declared: FreeDims) -> FreeDims:
    """The free dimensions: those that are declared, and those whose sizes differ between batches.

    Dimensions that always have the same size get the same name. Inputs of another number of dimensions are
    left to `require_like_example`.
    """
    dims, varying = [dict(names) for names in declared], list(_varying(looks, declared))
    sizes: dict[tuple[int, ...], str] = {}
    for index, names in enumerate(dims):
        for dim, name in names.items():
            sizes.setdefault(_sizes(looks, index, dim), name)
    unnamed = [column for index, dim, column in varying if dim not in dims[index]]
    new = [column for column in dict.fromkeys(unnamed) if column not in sizes]
    for number, column in enumerate(new, 1):
        sizes[column] = "length" if len(new) == 1 else f"length_{number}"
    for index, dim, column in varying:
        dims[index].setdefault(dim, sizes[column])
    return tuple(dims)


def _varying(looks: Sequence[Look], declared: FreeDims) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """The dimensions behind the batch with several sizes: input, dimension, the size in each look.

    Where a split has one size and another one a different size, that is a mistake, unless it is declared.
    """
    if any(len(look.inputs) != len(declared) for look in looks):
        return
    for index, names in enumerate(declared):
        ranks = {look.inputs[index].ndim for look in looks}
        for dim in range(1, ranks.pop() if len(ranks) == 1 else 0):
            sizes = {(look.split, look.inputs[index].shape[dim]) for look in looks}
            most = max(Counter(split for split, _ in sizes).values())
            column = _sizes(looks, index, dim)
            if len(set(column)) > 1 and (dim in names or most > 1):
                yield index, dim, column


def _sizes(looks: Sequence[Look], index: int, dim: int) -> tuple[int, ...]:
    return tuple(look.inputs[index].shape[dim] for look in looks)
