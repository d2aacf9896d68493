"""Rotary positions: pairs of numbers of each head turned by an angle that grows with the position.

    interleaved  (x₀, x₁), (x₂, x₃), …        halves  (x₀, x_{D/2}), (x₁, x_{D/2 + 1}), …

Source: Su et al., "RoFormer" (2021), equation 34; ONNX Runtime's `RotaryEmbedding`, whose tables are
positions × D / 2. It takes batch × tokens × (heads · D), and batch × heads × tokens × D.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from .layout import merged_heads, split_heads, swap, swapped
from .view import GraphView, axis_of

_RANK = 4
_FAR = 1 << 31  # an end of a slice that stands for the last place
_DOMAIN = "com.microsoft"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rotation:
    """y is x turned; `cos` and `sin` have the shape that broadcasts over x, the last dimension D / 2."""

    x: str
    cos: np.ndarray
    sin: np.ndarray
    interleaved: bool


def fuse_rotary(view: GraphView) -> int:
    """Writes each rotation as one node; returns how many there were."""
    count = 0
    for node in view.nodes("Reshape", "Add"):
        rotation = _pairs(view, node) if node.op_type == "Reshape" else _halves(view, node)
        count += rotation is not None and _write(view, rotation, node.output[0])
    return count


def _pairs(view: GraphView, node: onnx.NodeProto) -> _Rotation | None:
    """The rotation of neighbouring pairs (a, b): (a · cos - b · sin, a · sin + b · cos), stacked."""
    stacked = view.maker(node.input[0], "Concat")
    shape, result = view.shape(node.input[0]), view.shape(node.output[0])
    if stacked is None or shape is None or result is None or len(result) != _RANK or len(stacked.input) != 2:
        return None
    if axis_of(stacked, len(shape)) != len(shape) - 1 or len(shape) != _RANK + 1 or shape[-1] != 2:
        return None
    parts = [view.maker(name, "Unsqueeze") for name in stacked.input]
    first, second = (None if part is None else part.input[0] for part in parts)
    difference = None if first is None else view.maker(first, "Sub")
    total = None if second is None else view.maker(second, "Add")
    if difference is None or total is None:
        return None
    a_cos, b_sin = (_product(view, name) for name in difference.input)
    for one, other in (tuple(total.input), tuple(total.input)[::-1]):
        a_sin, b_cos = _product(view, one), _product(view, other)
        if a_cos is None or b_sin is None or a_sin is None or b_cos is None:
            return None
        (a, cos), (b, sin) = a_cos, b_sin
        if (a, sin) == a_sin and (b, cos) == b_cos:
            x = _every_other(view, a, 0)
            if x is not None and x == _every_other(view, b, 1) and view.shape(x) == result:
                return _rotation(view, x, cos, sin, interleaved=True)
    return None


def _halves(view: GraphView, node: onnx.NodeProto) -> _Rotation | None:
    """The rotation of halves: x · cos + (-second half, first half) · sin, both halves of the angles alike."""
    for one, other in (tuple(node.input), tuple(node.input)[::-1]):
        plain, turned = _product(view, one), _product(view, other)
        if plain is None or turned is None:
            return None
        (x, cos), (rotated, sin) = plain, turned
        joined = view.maker(rotated, "Concat")
        shape = view.shape(x)
        if joined is None or shape is None or len(shape) != _RANK or len(joined.input) != 2:
            continue
        negative = view.maker(joined.input[0], "Neg")
        if negative is None or axis_of(joined, _RANK) != _RANK - 1 or shape[-1] is None or shape[-1] % 2:
            continue
        if _half(view, negative.input[0], 1) == x and _half(view, joined.input[1], 0) == x:
            return _rotation(view, x, cos, sin, interleaved=False)
    return None


def _product(view: GraphView, name: str) -> tuple[str, str] | None:
    """The tensor and the constant of a product."""
    node = view.maker(name, "Mul")
    if node is None:
        return None
    first, second = node.input
    if view.array(second) is not None:
        return first, second
    return (second, first) if view.array(first) is not None else None


def _rotation(view: GraphView, x: str, cos: str, sin: str, *, interleaved: bool) -> _Rotation | None:
    """The rotation with its tables; None where the halves of the angles differ."""
    tables = []
    for name in (cos, sin):
        array = view.array(name)
        if array is None:
            return None
        half = array.shape[-1] // 2
        if not interleaved:
            if not np.array_equal(array[..., :half], array[..., half:]):
                return None
            array = array[..., :half]
        tables.append(array)
    return _Rotation(x=x, cos=tables[0], sin=tables[1], interleaved=interleaved)


def _every_other(view: GraphView, name: str, start: int) -> str | None:
    """The tensor of which this is every other number of the last dimension, from `start`."""
    node = view.maker(name, "Slice")
    if node is None or len(node.input) < 5:
        return None
    starts, ends, axes, steps = (view.integers(one) for one in node.input[1:5])
    last = axes in ([-1], [_RANK - 1])
    whole = starts == [start] and ends is not None and ends[0] >= _FAR and steps == [2]
    return node.input[0] if last and whole else None


def _half(view: GraphView, name: str, which: int) -> str | None:
    """The tensor of which this is the first or the second half of the last dimension."""
    node = view.maker(name, "Slice", "Split")
    whole, part = (None if node is None else view.shape(one) for one in (node.input[0] if node else "", name))
    if node is None or whole is None or part is None or len(whole) != _RANK or whole[-1] is None:
        return None
    if whole[:-1] != part[:-1] or part[-1] is None or 2 * part[-1] != whole[-1]:
        return None
    if node.op_type == "Split":
        at_last = axis_of(node, _RANK, default=0) == _RANK - 1
        return node.input[0] if at_last and list(node.output).index(name) == which else None
    starts = view.integers(node.input[1])
    axes = view.integers(node.input[3]) if len(node.input) > 3 else None
    steps = view.integers(node.input[4]) if len(node.input) > 4 and node.input[4] else [1]
    begins = [0] if which == 0 else [part[-1]]
    return node.input[0] if starts == begins and axes in ([-1], [_RANK - 1]) and steps == [1] else None


def _write(view: GraphView, rotation: _Rotation, output: str) -> bool:
    """Adds the node if the angles grow along the tokens alone."""
    shape = view.shape(rotation.x)
    tables = [_of_rank_4(table) for table in (rotation.cos, rotation.sin)]
    if shape is None or None in shape[1:] or tables[0] is None or tables[1] is None:
        return False
    width = tables[0].shape[-1]
    sizes = {table.shape for table in tables if table is not None}
    by_token, by_head = sizes == {(1, shape[1], 1, width)}, sizes == {(1, 1, shape[2], width)}
    if by_token == by_head or 2 * width != shape[3]:  # angles of one token say nothing of the order
        return False
    flat = [np.ascontiguousarray(table.reshape(-1, width)) for table in tables if table is not None]
    first = view.constant(np.zeros(1, np.int64))
    inputs = [first, *(view.constant(table) for table in flat)]
    attributes: dict[str, Any] = {"domain": _DOMAIN, "interleaved": int(rotation.interleaved)}
    source = swapped(view, rotation.x) if by_head else rotation.x
    if source is None:
        view.make("RotaryEmbedding", [rotation.x, *inputs], output, **attributes)
        return True
    merged, before = merged_heads(view, source), view.shape(source)
    assert before is not None
    turned = view.make("RotaryEmbedding", [merged, *inputs], shape=view.shape(merged), **attributes)
    if by_head:
        swap(view, split_heads(view, turned, before), output)
    else:
        split_heads(view, turned, before, output)
    return True


def _of_rank_4(table: np.ndarray) -> np.ndarray | None:
    """The table with four dimensions, those along which nothing changes of size 1; None for one of more."""
    if table.ndim > _RANK:
        return None
    table = table.reshape((1,) * (_RANK - table.ndim) + table.shape)
    for axis in range(_RANK - 1):
        first = table.take([0], axis)
        if np.array_equal(np.broadcast_to(first, table.shape), table):
            table = first
    return table
