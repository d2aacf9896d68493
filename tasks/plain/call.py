"""The model takes tensors by position and returns tensors, whatever its `forward` takes and returns."""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import TaskError
from ..boundary import user_code
from ..task import ExampleInputs
from .parts import in_parts

_FORM = "autocompress_form"  # an attribute of a model
_INNER = "autocompress_inner"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """How the user's model is called and what it returns.

    `inputs` are the names of its inputs, which it takes by position, as keywords or in one dictionary.
    `outputs` are the names of its output tensors, None if they were not looked at. `named` outputs are a
    dictionary for loss and metric. `batch` is the only batch size that it takes, None if it takes any; a
    model that is `unbatched` takes one sample without a batch dimension.
    """

    inputs: tuple[str, ...]
    style: Literal["positions", "keywords", "dictionary"]
    outputs: tuple[str, ...] | None = None
    named: bool = False
    batch: int | None = None
    unbatched: bool = False


def form_of(model: nn.Module) -> CallForm | None:
    """How the model inside is called, if `set_plain_call` changed the model."""
    form: CallForm | None = vars(model).get(_FORM)
    return form


def call_form(model: nn.Module, example: ExampleInputs) -> CallForm:
    """How this model is called with inputs like the example, and what it returns. It runs once.

    Raises TaskError if it fails, or returns no tensor.
    """
    form = input_form(model, example)
    tensors = tuple(example.values()) if isinstance(example, Mapping) else example
    remedy = "It must run on example_inputs"
    if form.style == "dictionary":
        parameters = ", ".join(inspect.signature(model.forward).parameters)
        remedy += f", whose names are those of its parameters ({parameters}) unless it takes a dictionary"
    with user_code("model", remedy=remedy), torch.inference_mode():
        positional, keywords = _arguments(form, tensors)
        outputs = model(*positional, **keywords)
    names = tuple(name for name, _ in named_tensors(outputs))
    if not names:
        raise TaskError(
            f"model returns a {type(outputs).__name__} without a tensor: "
            "return a tensor, a tuple of tensors or a dictionary of tensors."
        )
    named = isinstance(outputs, Mapping) or is_dataclass(outputs)
    return replace(form, outputs=names, named=named)


def input_form(model: nn.Module, example: ExampleInputs) -> CallForm:
    """How this model is called with inputs like the example; it does not run."""
    signature = inspect.signature(model.forward)
    if isinstance(example, Mapping):
        as_keywords = _takes(signature, **example) or not _takes(signature, dict(example))
        return CallForm(inputs=tuple(example), style="keywords" if as_keywords else "dictionary")
    names = []
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    names += [f"input_{index}" for index in range(len(names), len(example))]
    return CallForm(inputs=tuple(names[: len(example)]), style="positions")


def _takes(signature: inspect.Signature, *arguments: Any, **keywords: Any) -> bool:
    """Whether a function with this signature can be called so."""
    try:
        signature.bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def _arguments(form: CallForm, inputs: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of the model for tensors by position."""
    if form.style == "positions":
        return tuple(inputs), {}
    named = dict(zip(form.inputs, inputs, strict=True))
    return ((named,), {}) if form.style == "dictionary" else ((), named)


def set_plain_call(model: nn.Module, form: CallForm) -> None:
    """Gives the model, in place, a `forward` from tensors by position to a tensor or a tuple of tensors."""
    if form_of(model) is not None:
        return
    inner = vars(model).pop("forward", None)  # a forward of the object's own, not of its class
    model.forward = types.MethodType(_plain_forward(form), model)
    setattr(model, _INNER, inner)
    setattr(model, _FORM, form)


def _plain_forward(form: CallForm) -> Callable[..., Any]:
    """A method that holds no model, so that a copied model calls itself."""

    def forward(self: nn.Module, *inputs: Tensor) -> Any:
        inner = vars(self)[_INNER]

        def called(*inputs: Tensor) -> Any:
            given = tuple(x.squeeze(0) for x in inputs) if form.unbatched else inputs
            positional, keywords = _arguments(form, given)
            if inner is None:  # not as a bound method, which torch.export cannot follow
                outputs = type(self).forward(self, *positional, **keywords)
            else:
                outputs = inner(*positional, **keywords)
            tensors = tuple(tensor for _, tensor in named_tensors(outputs))
            if form.unbatched:
                tensors = tuple(tensor.unsqueeze(0) for tensor in tensors)
            return tensors[0] if len(tensors) == 1 else tensors

        return in_parts(called, inputs, form.batch)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *form.inputs)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested outputs with their names (`logits`, `hidden.0`); anything else is left out."""
    if isinstance(value, Tensor):
        yield name or "output", value
        return
    parts: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, Mapping):
        parts = iter(value.items())
    elif is_dataclass(value):
        parts = ((field.name, getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    for key, part in parts:
        yield from named_tensors(part, f"{name}.{key}" if name else str(key))
