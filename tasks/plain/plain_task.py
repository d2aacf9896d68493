"""A task whose model, data, loss and metric are in the plain form that all other code knows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..quality import as_tuple
from ..splits.tokens import tokens_by_position
from ..task import ExampleInputs, Metric, Task
from .call import CallForm, call_form, form_of, set_plain_call
from .dynamic import free_dims
from .model import plain_model
from .parts import parts_of
from .splits import InputOrder, ordered_split


def plain_task(task: Task) -> Task:
    """The task with a plain copy of its model, which takes tensors by position and returns tensors.

    Splits give tuples of inputs, and `example_inputs` is a tuple. Loss and metric still see a dictionary
    where the user's model returns one, `augment` where it takes one. A model that takes single samples gets
    a batch of 1, and one that takes a batch size of its own gets others in parts. A plain task stays as it is
    but for the copy. Raises TaskError.
    """
    model = plain_model(task.model)
    if form_of(model) is not None:
        return replace(task, model=model)
    if isinstance(task.batch, int):
        task = replace(task, example_inputs=_of_batch(task.example_inputs, task.batch))
    form = call_form(model, task.example_inputs)
    if task.batch is None:
        task = _with_batch_of_one(task)
        form = replace(form, unbatched=True)
    if isinstance(task.batch, int):
        form = replace(form, batch=task.batch)
    set_plain_call(model, form)
    dims = free_dims(task.dynamic, form.inputs, task.inputs)
    task = replace(
        task,
        model=model,
        dynamic={index: names for index, names in enumerate(dims) if names},
        used_tokens=tokens_by_position(task.used_tokens, form.inputs, task.inputs),
    )
    if isinstance(task.example_inputs, Mapping):
        task = _with_ordered_inputs(task, task.example_inputs, form)
    if form.named and form.outputs:
        loss = _NamedOutputs(task.loss, form.outputs)
        task = replace(task, loss=loss, metric=_of_named_outputs(task.metric, form.outputs))
    return task


def _of_batch(example: ExampleInputs, size: int) -> ExampleInputs:
    """The example with this batch size, cut or its samples repeated."""
    if isinstance(example, Mapping):
        return dict(zip(example, parts_of(tuple(example.values()), size)[0], strict=True))
    return parts_of(example, size)[0]


def _with_batch_of_one(task: Task) -> Task:
    """A task whose model takes single samples, with a batch dimension of size 1 in front."""
    example = task.example_inputs
    if isinstance(example, Mapping):
        example = {name: x.unsqueeze(0) for name, x in example.items()}
    else:
        example = tuple(x.unsqueeze(0) for x in example)
    dynamic = {
        key: {dim + 1 if isinstance(dim, int) else dim: name for dim, name in names.items()}
        for key, names in task.dynamic.items()
    }
    return replace(task, example_inputs=example, dynamic=dynamic, batch=1)


def _with_ordered_inputs(task: Task, example: Mapping[str, Any], form: CallForm) -> Task:
    augment = task.augment and _NamedInputs(task.augment, InputOrder("augment gives", form.inputs))
    return replace(
        task,
        example_inputs=tuple(example.values()),
        augment=augment,
        train=ordered_split(task.train, form.inputs),
        validation=ordered_split(task.validation, form.inputs),
        test=ordered_split(task.test, form.inputs),
    )


def _of_named_outputs(metric: Metric, names: tuple[str, ...]) -> Metric:
    if metric.prepare is not None:  # it is the one that sees outputs
        return replace(metric, prepare=_NamedOutputs(metric.prepare, names))
    if metric.torchmetric is not None:
        return replace(metric, arguments=_NamedOutputs(metric.arguments or _both, names))
    if metric.update is not None:
        return replace(metric, update=_NamedOutputs(metric.update, names))
    assert metric.function is not None
    return replace(metric, function=_NamedOutputs(metric.function, names))


def _both(outputs: Any, targets: Any) -> tuple[Any, Any]:
    return outputs, targets


class _NamedOutputs:
    """A loss or metric that gets its outputs as a dictionary."""

    def __init__(self, function: Callable[[Any, Any], Any], names: tuple[str, ...]):
        self.__wrapped__, self._names = function, names

    def __call__(self, outputs: Any, targets: Any) -> Any:
        return self.__wrapped__(dict(zip(self._names, as_tuple(outputs), strict=True)), targets)


class _NamedInputs:
    """An `augment` that gets and returns its inputs as a dictionary."""

    def __init__(self, function: Callable[[Any, Any], tuple[Any, Any]], order: InputOrder):
        self.__wrapped__, self._order = function, order

    def __call__(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        changed: tuple[Any, Any] = self._order.ordered(self.__wrapped__(self._order.named(inputs), targets))
        return changed
