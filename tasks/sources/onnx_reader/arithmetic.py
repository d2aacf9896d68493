"""Operators that compute entry by entry, and reductions: of tensors, and of sizes."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....errors import TaskError
from .graph import Node
from .values import Operator, Value, axes_of, each, is_number, number, operand, tensor

_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    11: torch.float64,
}


def binary(function: Callable[[Any, Any], Any], of_tensors: Callable[..., Any] | None = None) -> Operator:
    """An operator of two values, or of more one after the other."""

    def run(node: Node, *values: Value) -> Value:
        total = values[0]
        for value in values[1:]:
            if is_number(total) and is_number(value):
                total = each(function, total, value)
            else:
                total = (of_tensors or function)(operand(total), operand(value))
        return total

    return run


def unary(function: Callable[[Tensor], Tensor], of_numbers: Callable[[Any], Any] | None = None) -> Operator:
    """An operator of one value."""

    def run(node: Node, value: Value) -> Value:
        if is_number(value) and of_numbers is not None:
            return each(of_numbers, value)
        return function(tensor(value))

    return run


def of_two_tensors(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Value, Value], Tensor]:
    """The function for values of which one may be a number."""
    return lambda first, second: function(tensor(first), tensor(second))


def quotient(first: Value, second: Value) -> Value:
    """Numbers or tensors; integers are divided towards zero."""
    if is_number(first) and is_number(second):
        integers = not any(isinstance(one, float | torch.SymFloat) for one in (first, second))
        return first // second if integers else first / second
    floats = isinstance(first, float) or isinstance(second, float)
    floats |= any(isinstance(one, Tensor) and one.is_floating_point() for one in (first, second))
    return first / second if floats else torch.div(first, second, rounding_mode="trunc")


def remainder(node: Node, first: Value, second: Value) -> Value:
    if is_number(first) and is_number(second):
        return each(operator.mod, first, second)
    function = torch.fmod if node.attributes.get("fmod") else torch.remainder
    return function(tensor(first), operand(second))


def cast(node: Node, value: Value) -> Value:
    return as_type(node, value, node.attributes["to"])


def cast_like(node: Node, value: Value, like: Value) -> Value:
    return tensor(value).to(tensor(like).dtype)


def as_type(node: Node, value: Value, code: int) -> Value:
    """The value in the type with this number in ONNX; TaskError for half precision and strings."""
    if code not in _TYPES:
        raise TaskError(
            f"The operator {node} makes a type that cannot be followed: export the model in float32."
        )
    dtype = _TYPES[code]
    if not is_number(value):
        return value.to(dtype)
    if dtype.is_floating_point:
        return each(lambda one: one * 1.0, value)
    if dtype == torch.bool:
        return each(bool, value)
    return each(
        lambda one: one if isinstance(one, int | torch.SymInt) and not isinstance(one, bool) else int(one),
        value,
    )


def where(node: Node, condition: Value, first: Value, second: Value) -> Value:
    if all(map(is_number, (condition, first, second))):
        return each(lambda chosen, one, other: one if chosen else other, condition, first, second)
    first, second = operand(first), operand(second)
    if is_number(first) and is_number(second):
        first = tensor(first)
    return torch.where(tensor(condition), first, second)


def clip(node: Node, x: Value, low: Value = None, high: Value = None) -> Value:
    low = number(node, low, node.attributes.get("min"))
    high = number(node, high, node.attributes.get("max"))
    if is_number(x):
        return each(lambda one: min(max(one, low), high), x)
    if (low, high) in ((0, None), (0, math.inf)):
        return F.relu(x)
    return F.relu6(x) if (low, high) == (0, 6) else torch.clamp(x, low, high)


def gelu(node: Node, x: Value) -> Value:
    return F.gelu(x, approximate=node.attributes.get("approximate", "none"))


def hard_sigmoid(node: Node, x: Value) -> Value:
    slope, shift = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if abs(slope - 1 / 6) < 1e-6 and shift == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * slope + shift, 0, 1)


def parametric(node: Node, x: Value, slope: Value) -> Value:
    """PRelu: a slope for each channel, or for all."""
    slope = tensor(slope)
    if (
        slope.numel() in (1, x.shape[1])
        and slope.dim() <= x.dim()
        and slope.numel() == max(slope.shape[:1], default=1)
    ):
        return F.prelu(x, slope.flatten())
    return torch.where(x > 0, x, x * slope)


def softmax(function: Callable[..., Tensor]) -> Operator:
    """Softmax or its logarithm. Before opset 13 it runs over all dimensions from `axis` on."""

    def run(node: Node, x: Value) -> Value:
        axis = node.attributes.get("axis", 1 if node.opset < 13 else -1)
        if node.opset >= 13 or axis in (-1, x.dim() - 1):
            return function(x, dim=axis)
        return function(x.flatten(axis), dim=-1).reshape(x.shape)

    return run


def reduction(function: Callable[..., Tensor], of_numbers: Callable[[Any], Any] | None = None) -> Operator:
    """An operator over axes: `function(x, axes, keepdim)`."""

    def run(node: Node, *values: Value) -> Value:
        axes, keep = axes_of(node, values), bool(node.attributes.get("keepdims", 1))
        x = values[0]
        if is_number(x) and of_numbers is not None and isinstance(x, list):
            result = of_numbers(x)
            return [result] if keep else result
        if not axes:
            if node.attributes.get("noop_with_empty_axes"):
                return x
            axes = list(range(tensor(x).dim()))
        return function(tensor(x), axes, keep)

    return run


def extreme(function: Callable[..., Tensor]) -> Operator:
    """ArgMax or ArgMin."""

    def run(node: Node, x: Value) -> Value:
        return function(
            x, dim=node.attributes.get("axis", 0), keepdim=bool(node.attributes.get("keepdims", 1))
        )

    return run


def product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    """The product over axes."""
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def cumulative(node: Node, x: Value, axis: Value) -> Value:
    if node.attributes.get("exclusive") or node.attributes.get("reverse"):
        raise TaskError(
            f"The operator {node} runs backwards or leaves its own entry out, which is not supported."
        )
    return torch.cumsum(tensor(x), number(node, axis))


def eye_of(node: Node, x: Value, diagonal: Value = None) -> Value:
    function = torch.triu if node.attributes.get("upper", 1) else torch.tril
    return function(tensor(x), number(node, diagonal, 0))
