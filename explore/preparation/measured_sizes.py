"""The sizes of free dimensions at which latency is measured: what the user asked for, else the task's own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...errors import InputError
from ...profiles import Profile
from ...profiles.sizes import Sizes, asked_sizes
from ...tasks.check import CheckedTask
from ...tasks.plain.dynamic import dims_of_task, resized, sizes_in
from ...tasks.splits.varying import require_size
from ...tasks.task import Task


def measured_sizes(checked: CheckedTask, shapes: Sequence[str], profiles: Sequence[Profile]) -> Sizes | None:
    """The sizes for `--shape`, those of the example where it says nothing; None without free dimensions.

    InputError for names that the task does not have, and for sizes that a target cannot run.
    """
    task, stated = checked.task, asked_sizes(shapes)
    dims = dims_of_task(task)
    usual = sizes_in(task.inputs, dims)
    _require_names(stated, usual)
    if not usual:
        return None
    words = {name: f"{name}={size}" for name, size in usual.items()}
    words |= {text.partition("=")[0]: text for text in shapes}
    places = tuple(
        (index, dim, name) for index, names in enumerate(dims) for dim, name in sorted(names.items())
    )
    sizes = Sizes(text=" ".join(words.values()), places=places)
    _require_measurable(checked, sizes, profiles)
    for one in sizes.each:
        inputs = resized(task.inputs, dims, one.sizes)
        require_size(task, inputs, one.sizes, remedy="Give sizes with --shape that it can take")
    return sizes


def at_sizes(task: Task, sizes: Sizes | None) -> Task:
    """The task with an example of the usual size, whose MACs are counted; at least 2 of each dimension."""
    if sizes is None:
        return task
    least = {name: max(2, size) for name, size in sizes.usual.items()}
    return replace(task, example_inputs=resized(task.inputs, dims_of_task(task), least))


def _require_names(stated: Mapping[str, object], usual: Mapping[str, int]) -> None:
    for name in stated:
        if name not in usual:
            has = f"has {', '.join(usual)}" if usual else "names none (dynamic={...})"
            raise InputError(f"--shape names the dimension {name!r}, but the task {has}: name a free one.")


def _require_measurable(checked: CheckedTask, sizes: Sizes, profiles: Sequence[Profile]) -> None:
    for profile in profiles:
        if checked.varying and profile.facts.builds_engines:
            raise InputError(
                f"The size of {' and '.join(checked.varying)} varies in the data, but the target "
                f"'{profile.name}' builds engines for one size: pad or crop all samples to one."
            )
        if len(sizes.each) > 1 and profile.facts.builds_engines:
            raise InputError(
                f"--shape gives several sizes, but the target '{profile.name}' builds engines for one size: "
                "give one."
            )
