"""Root mean square normalization: y = x / sqrt(mean(x²) + ε) · w over the last dimension.

Source: Zhang, Sennrich, "Root Mean Square Layer Normalization" (2019), equation 4; `RMSNormalization` of
ONNX opset 23.
"""

from dataclasses import dataclass

import onnx

from ..writer import attribute_of
from .view import GraphView


@dataclass(frozen=True, slots=True, kw_only=True)
class _Normalized:
    """x / sqrt(mean(x²) + ε), and the tensor that the model has for it."""

    output: str
    x: str
    epsilon: float


def fuse_normalizations(view: GraphView) -> int:
    """Writes each as one `RMSNormalization`; returns how many there were."""
    count = 0
    for node in view.nodes("Mul", "Div"):
        normalized = _normalized(view, node)
        if normalized is None:
            continue
        for scaled in view.readers(normalized.output):
            weight = _weight(view, scaled, normalized.output)
            if weight is not None:
                inputs, epsilon = [normalized.x, weight], normalized.epsilon
                view.make("RMSNormalization", inputs, scaled.output[0], axis=-1, epsilon=epsilon)
                count += 1
    return count


def _normalized(view: GraphView, node: onnx.NodeProto) -> _Normalized | None:
    """What a product with 1 / sqrt(mean(x²) + ε) normalizes; None for other nodes."""
    for x, other in (tuple(node.input), tuple(node.input)[::-1]):
        root = _root(view, other) if node.op_type == "Mul" else view.maker(other, "Sqrt")
        epsilon = None if root is None else _epsilon_of_mean_square(view, root.input[0], x)
        if epsilon is not None:
            return _Normalized(output=node.output[0], x=x, epsilon=epsilon)
        if node.op_type == "Div":
            return None
    return None


def _root(view: GraphView, name: str) -> onnx.NodeProto | None:
    """The node whose input is v, where `name` is 1 / sqrt(v)."""
    inverse = view.maker(name, "Reciprocal", "Div", "Pow")
    if inverse is None:
        return None
    if inverse.op_type == "Pow":
        return inverse if view.scalar(inverse.input[1]) == -0.5 else None
    if inverse.op_type == "Div" and view.scalar(inverse.input[0]) != 1.0:
        return None
    return view.maker(inverse.input[-1], "Sqrt")


def _epsilon_of_mean_square(view: GraphView, name: str, x: str) -> float | None:
    """ε, where `name` is mean(x²) + ε over the last dimension."""
    total = view.maker(name, "Add")
    if total is None:
        return None
    for mean, epsilon in (tuple(total.input), tuple(total.input)[::-1]):
        value, reduced = view.scalar(epsilon), view.maker(mean, "ReduceMean")
        if value is None or reduced is None or not _is_over_last(view, reduced):
            continue
        square = view.maker(reduced.input[0], "Pow", "Mul")
        if square is None or square.input[0] != x:
            continue
        by_power = square.op_type == "Pow" and view.scalar(square.input[1]) == 2.0
        if by_power or (square.op_type == "Mul" and square.input[1] == x):
            return value
    return None


def _is_over_last(view: GraphView, reduced: onnx.NodeProto) -> bool:
    axes = view.integers(reduced.input[1]) if len(reduced.input) > 1 else None
    shape = view.shape(reduced.input[0])
    last = [-1] if shape is None else [-1, len(shape) - 1]
    return (
        axes is not None and len(axes) == 1 and axes[0] in last and attribute_of(reduced, "keepdims", 1) == 1
    )


def _weight(view: GraphView, node: onnx.NodeProto, normalized: str) -> str | None:
    """The weight that the node multiplies the normalized tensor with, one number for each place of the last
    dimension.
    """
    if node.op_type != "Mul":
        return None
    weight = node.input[1] if node.input[0] == normalized else node.input[0]
    array, shape = view.array(weight), view.shape(normalized)
    is_vector = array is not None and array.ndim == 1 and array.size > 1
    fits = shape is None or shape[-1] is None or (array is not None and array.size == shape[-1])
    return weight if is_vector and fits else None
