"""What passes between nodes: tensors, and numbers that do not depend on the data (sizes, axes, constants)."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ....errors import TaskError
from .graph import Node

# A tensor; a number, a list or an array of numbers; None for an input that is left out.
Value: TypeAlias = Any
Operator: TypeAlias = Callable[..., Value]  # (node, *values) to one value, or a tuple of them


def is_number(value: Value) -> bool:
    """Whether the value is a number or several, of the sizes and constants."""
    return value is not None and not isinstance(value, Tensor)


def tensor(value: Value) -> Tensor:
    """The value as a tensor: integers are int64, others float32."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray):
        return torch.tensor(value.tolist())
    if isinstance(value, list):
        if any(isinstance(one, torch.SymInt) for one in value):
            return torch.stack([torch.full((), one) for one in value])
        return torch.tensor(value, dtype=torch.int64 if not value else None)
    return torch.full((), value)


def operand(value: Value) -> Value:
    """The value for arithmetic with a tensor: one number stays one, so that the graph has no constant."""
    if isinstance(value, list):
        return value[0] if len(value) == 1 else tensor(value)
    return value


def numbers(node: Node, value: Value) -> list[Any]:
    """The value as a list of numbers. TaskError if it is computed from the data."""
    if isinstance(value, Tensor):
        raise TaskError(
            f"The operator {node} takes a size or a constant that depends on the data, which cannot be "
            "followed: export the model without control flow on its data."
        )
    return list(value) if isinstance(value, list) else [value]


def number(node: Node, value: Value, default: Any = None) -> Any:
    """The value as one number, `default` for an input that is left out."""
    return default if value is None else numbers(node, value)[0]


def axes_of(node: Node, values: Sequence[Value], position: int = 1) -> list[int] | None:
    """Axes, which old files have as an attribute, and new ones as an input."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"])
    value = values[position] if len(values) > position else None
    return None if value is None else numbers(node, value)


def each(function: Callable[..., Any], *values: Value) -> Value:
    """The function of numbers, or of each entry of lists; a single number goes with all entries."""
    lists = [value if isinstance(value, list) else [value] for value in values]
    length = max(map(len, lists))
    rows = zip(*[one * length if len(one) == 1 else one for one in lists], strict=True)
    results = [function(*row) for row in rows]
    return results if any(isinstance(value, list) for value in values) else results[0]


def constant(array: np.ndarray) -> Value:
    """A small constant as numbers, a larger one as a tensor."""
    if array.ndim <= 1 and array.dtype in (np.int64, np.bool_, np.float32, np.float64):
        return array.tolist()
    return torch.from_numpy(np.array(array))
