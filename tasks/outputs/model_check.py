"""The model on its example: what it returns, and that it treats each sample alike, whatever is beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...errors import TaskError
from ..boundary import user_code
from ..data import Randomness, read
from ..plain.call import form_of
from ..plain.dynamic import dims_of_task, smaller
from ..quality import outputs_of, shape_text
from ..task import Task
from .kinds import OutputKind

_FREE = "It must run on example_inputs with any batch size, here 1 and 2"


def check_model(task: Task) -> None:
    """Raises TaskError unless the plain task's model runs on its example, and gives each sample an answer of
    its own.

    Where a free batch size fails, the error says which `batch` the task may have instead.
    """
    inputs = task.inputs
    size = task.batch if isinstance(task.batch, int) else None
    if size is None:
        one, other = tuple(x[:1] for x in inputs), tuple(torch.cat([x[:1], x[-1:]]) for x in inputs)
    else:
        one, other = inputs, tuple(torch.cat([x[:1], x[1:].flip(0)]) for x in inputs)
    with with_batch_hint(task):
        with user_code("model", remedy=_FREE if size is None else f"It must run on a batch of {size}"):
            alone, again, beside = (outputs_of(task.model, part) for part in (one, one, other))
        form = form_of(task.model)
        for index, runs in enumerate(zip(alone, again, beside, strict=True)):
            name = repr(form.outputs[index]) if form and form.named and form.outputs else f"{index}"
            _check_output(f"model's output {name}", runs, sizes=(len(one[0]), len(other[0])))
    dims = dims_of_task(task)
    if any(dims):
        with user_code("model", remedy="Dimensions in dynamic may have any size, also half of the example's"):
            outputs_of(task.model, smaller(one, dims))
    if task.outputs is not None:
        _check_outputs(task.outputs, beside)


@contextmanager
def with_batch_hint(task: Task) -> Iterator[None]:
    """Adds to an error of the model what to write as `batch`, where that is seen to help."""
    try:
        yield
    except TaskError as error:
        tensors = all(isinstance(x, Tensor) and x.ndim for x in task.inputs)
        hint = _hint(task) if task.batch == "free" and tensors else None
        if hint is None:
            raise
        raise TaskError(f"{str(error).rstrip('.')}. {hint}") from error


def _hint(task: Task) -> str | None:
    if _example_is_one_sample(task):
        return (
            "example_inputs have the shape of one sample: put a batch dimension in front (x[None]), or, if "
            "the model takes one sample without any, give the task batch=None."
        )
    count = len(task.inputs[0])
    try:
        outputs = outputs_of(task.model, task.inputs)
    except Exception:  # the user's code may raise anything, and has told its first error
        return None
    if all(isinstance(output, Tensor) and output.ndim and len(output) == count for output in outputs):
        samples = f"the {count} samples" if count > 1 else "the sample"
        return (
            f"It runs on {samples} of example_inputs: if it takes no other batch size, give the task "
            f"batch={count}."
        )
    return None


def batch_notes(task: Task) -> tuple[str, ...]:
    """A sentence for the user where the model does not take any batch size."""
    if task.batch == "free":
        return ()
    form = form_of(task.model)
    if form is not None and form.unbatched:
        return (
            "The model takes one sample without a batch dimension: inputs and outputs of the file have one, "
            "of size 1, in front.",
        )
    return (
        f"The model takes batches of {task.batch} only: so does the file, and latency is that of "
        f"{task.batch} samples.",
    )


def _example_is_one_sample(task: Task) -> bool:
    try:
        with Randomness(0):
            inputs, _ = next(read(task.train, limit=1))
    except Exception:  # a split that cannot be read is told later
        return False
    return [x.shape[1:] for x in inputs] == [x.shape for x in task.inputs]


def _check_outputs(kinds: tuple[OutputKind, ...], outputs: tuple[Tensor, ...]) -> None:
    """What the task says of its outputs fits them."""
    _require(
        isinstance(kinds, tuple) and all(isinstance(kind, OutputKind) for kind in kinds),
        "outputs must be a tuple such as (classes(dim=1), values()), one entry for each output.",
    )
    _require(
        len(kinds) == len(outputs),
        f"outputs has {len(kinds)} entries, but the model has {len(outputs)} outputs: say what each means.",
    )
    for index, (kind, output) in enumerate(zip(kinds, outputs, strict=True)):
        fits = kind.dim is None or (-output.ndim < kind.dim < output.ndim and kind.dim % output.ndim > 0)
        _require(
            fits,
            f"outputs[{index}] is {kind}, but output {index} has {output.ndim} dimensions, the batch first: "
            "name one behind it.",
        )
        shape = output.shape
        enough = kind.meaning != "boxes" or (kind.dim is not None and shape[kind.dim] >= kind.coordinates)
        _require(enough, f"outputs[{index}] is {kind}, but output {index} has shape {shape_text(output)}.")


def _check_output(what: str, runs: tuple[Any, Any, Any], *, sizes: tuple[int, int]) -> None:
    """Checks an output of a batch, of the same again, and of one with the same first sample."""
    one, again, other = runs
    _require(
        isinstance(one, Tensor), f"{what} is a {type(one).__name__}: return a tensor or a tuple of tensors."
    )
    any_size = "" if sizes[0] == sizes[1] else ", which may have any size"
    for size, output in zip(sizes, (one, other), strict=True):
        _require(
            output.ndim > 0 and len(output) == size,
            f"{what} has shape {shape_text(output)} for a batch of {size}: dimension 0 must be the batch"
            f"{any_size}; leave out what has none.",
        )
    _require(
        bool(one.isfinite().all() and other.isfinite().all()),
        f"{what} has NaN or infinite values on example_inputs: look at its weights, and at the example.",
    )
    _require(torch.equal(one, again), f"{what} differs between two runs in eval mode: is dropout always on?")
    alone, beside = one[0].double(), other[0].double()
    scale = 1e-3 * (1 + float(alone.abs().max())) if alone.numel() else 1.0
    same = alone.shape == beside.shape and torch.allclose(alone, beside, rtol=0.0, atol=scale)
    _require(
        same,
        f"{what} of a sample depends on the rest of its batch: samples must be independent of each other. If "
        "dimension 0 is no batch, put one in front, or give the task batch=None.",
    )


def _require(condition: object, message: str) -> None:
    if not condition:
        raise TaskError(message)
