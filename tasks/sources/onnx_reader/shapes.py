"""Operators that move entries, and those that make, read and change shapes."""

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ....errors import TaskError
from .graph import Node
from .values import Value, axes_of, is_number, number, numbers, tensor

_FEW = 64  # entries of a list of sizes


def shape(node: Node, x: Value) -> Value:
    sizes = list(tensor(x).shape)
    return sizes[node.attributes.get("start", 0) : node.attributes.get("end")]


def size(node: Node, x: Value) -> Value:
    return math.prod(tensor(x).shape)


def reshape(node: Node, x: Value, target: Value = None) -> Value:
    sizes = numbers(node, node.attributes.get("shape") if target is None else target)
    if is_number(x):
        count = len(x) if isinstance(x, list) else 1
        if sizes == [] and count == 1:
            return x[0] if isinstance(x, list) else x
        table = np.array(x, dtype=object).reshape(sizes)
        return table.tolist() if len(sizes) == 1 else table
    if not node.attributes.get("allowzero"):
        pairs = enumerate(sizes)
        sizes = [x.shape[index] if isinstance(one, int) and one == 0 else one for index, one in pairs]
    return x.reshape(sizes)


def flatten(node: Node, x: Value) -> Value:
    axis = node.attributes.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1:
        return torch.flatten(x, 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def unsqueeze(node: Node, *values: Value) -> Value:
    axes = axes_of(node, values) or []
    x = values[0]
    if is_number(x) and not isinstance(x, list) and axes in ([0], [-1]):
        return [x]
    x = tensor(x)
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(node: Node, *values: Value) -> Value:
    axes, x = axes_of(node, values), values[0]
    if isinstance(x, list) and len(x) == 1:
        return x[0]
    x = tensor(x)
    if axes is None:
        return x.squeeze()
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.squeeze(axis)
    return x


def concat(node: Node, *values: Value) -> Value:
    if all(isinstance(value, list) for value in values):
        return list(itertools.chain.from_iterable(values))
    return torch.cat([tensor(value) for value in values], node.attributes["axis"])


def gather(node: Node, x: Value, index: Value) -> Value:
    axis = node.attributes.get("axis", 0)
    if isinstance(x, list) and is_number(index):
        return [x[one] for one in index] if isinstance(index, list) else x[index]
    x = tensor(x)
    if is_number(index) and not isinstance(index, list):
        return torch.select(x, axis, index)
    index = tensor(index)
    if axis == 0 and x.dim() == 2 and x.is_floating_point():
        return F.embedding(index, x)
    return x[(slice(None),) * (axis % x.dim()) + (index.long(),)]


def gather_elements(node: Node, x: Value, index: Value) -> Value:
    axis = node.attributes.get("axis", 0)
    index = tensor(index)
    x = tensor(x)
    return torch.gather(x, axis, torch.where(index < 0, index + x.shape[axis], index))


def gather_nd(node: Node, x: Value, index: Value) -> Value:
    if node.attributes.get("batch_dims"):
        raise TaskError(f"The operator {node} has batch dimensions, which is not supported.")
    return tensor(x)[tuple(tensor(index).unbind(-1))]


def scatter_nd(node: Node, x: Value, index: Value, updates: Value) -> Value:
    if node.attributes.get("reduction", "none") != "none":
        raise TaskError(f"The operator {node} reduces, which is not supported.")
    return tensor(x).index_put(tuple(tensor(index).unbind(-1)), tensor(updates))


def slices(node: Node, x: Value, *values: Value) -> Value:
    if values:
        starts, ends = numbers(node, values[0]), numbers(node, values[1])
        axes = numbers(node, values[2]) if len(values) > 2 and values[2] is not None else range(len(starts))
        steps = numbers(node, values[3]) if len(values) > 3 and values[3] is not None else [1] * len(starts)
    else:
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        axes, steps = node.attributes.get("axes", range(len(starts))), [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if isinstance(x, list):
            x = x[start : end if step > 0 or end >= -len(x) else None : step]
        elif isinstance(x, np.ndarray):
            stop = end if step > 0 or end >= -x.shape[axis] else None
            x = x[(slice(None),) * (axis % x.ndim) + (slice(start, stop, step),)]
        elif step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(start, end, step),)]
        elif step == -1 and start in (-1, x.shape[axis] - 1) and end < -x.shape[axis]:
            x = x.flip(axis)
        else:
            raise TaskError(f"The operator {node} takes a part backwards, which is not supported.")
    return x


def split(node: Node, x: Value, sizes: Value = None) -> Value:
    axis = node.attributes.get("axis", 0)
    given = node.attributes.get("split") if sizes is None else numbers(node, sizes)
    if isinstance(x, list):
        ends = np.cumsum(given or [len(x) // len(node.outputs)] * len(node.outputs)).tolist()
        return tuple(x[start:end] for start, end in zip([0, *ends], ends, strict=False))
    if given:
        return torch.split(x, list(given), axis)
    return torch.split(x, -(-x.shape[axis] // len(node.outputs)), axis)


def transpose(node: Node, x: Value) -> Value:
    if isinstance(x, np.ndarray):
        return x.transpose(node.attributes.get("perm"))
    x = tensor(x)
    return x.permute(node.attributes.get("perm", list(range(x.dim()))[::-1]))


def expand(node: Node, x: Value, target: Value) -> Value:
    sizes = numbers(node, target)
    x = tensor(x)
    rank = max(x.dim(), len(sizes))
    sizes = [1] * (rank - len(sizes)) + sizes
    for index, one in enumerate(reversed(x.shape), 1):
        if not isinstance(one, int) or one != 1:
            sizes[-index] = one
    return x.expand(sizes)


def constant_of_shape(node: Node, target: Value) -> Value:
    array = node.attributes.get("value", np.zeros(1, np.float32))
    value, sizes = array.flat[0].item(), numbers(node, target)
    if not sizes:
        return value
    if len(sizes) == 1 and isinstance(sizes[0], int) and sizes[0] <= _FEW and not isinstance(value, float):
        return [value] * sizes[0]
    return torch.full(sizes, value, dtype=torch.from_numpy(np.zeros(1, array.dtype)).dtype)


def numbers_in_range(node: Node, start: Value, limit: Value, step: Value) -> Value:
    first, end, by = (number(node, value) for value in (start, limit, step))
    return torch.arange(first, end, by)


def tile(node: Node, x: Value, repeats: Value) -> Value:
    return tensor(x).repeat(numbers(node, repeats))


def pad(node: Node, x: Value, pads: Value = None, value: Value = None, axes: Value = None) -> Value:
    sizes = numbers(node, node.attributes.get("pads") if pads is None else pads)
    filling = number(node, value, node.attributes.get("value", 0.0))
    changed = range(x.dim()) if axes is None else [axis % x.dim() for axis in numbers(node, axes)]
    by_axis = dict(
        zip(changed, zip(sizes[: len(sizes) // 2], sizes[len(sizes) // 2 :], strict=True), strict=True)
    )
    order = [by_axis.get(axis, (0, 0)) for axis in range(x.dim())]
    while order and order[0] == (0, 0):
        order.pop(0)
    widths = [width for pair in reversed(order) for width in pair]
    if not widths:
        return x
    mode = {"edge": "replicate"}.get(
        node.attributes.get("mode", "constant"), node.attributes.get("mode", "constant")
    )
    return F.pad(x, widths, mode, filling) if mode == "constant" else F.pad(x, widths, mode)


def depth_to_space(node: Node, x: Value) -> Value:
    block = node.attributes["blocksize"]
    if node.attributes.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // block**2, h * block, w * block)


def space_to_depth(node: Node, x: Value) -> Value:
    block = node.attributes["blocksize"]
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block**2, h // block, w // block)


def top(node: Node, x: Value, count: Value) -> Value:
    return torch.topk(
        x, number(node, count), node.attributes.get("axis", -1), bool(node.attributes.get("largest", 1))
    )


def resize(node: Node, x: Tensor, *values: Value) -> Value:
    """Resize and Upsample, in the forms that torch has."""
    scales, sizes = _scales(node, values), values[2] if len(values) > 2 else None
    mode = node.attributes.get("mode", "nearest")
    form = node.attributes.get(
        "coordinate_transformation_mode", "half_pixel" if len(values) > 1 else "asymmetric"
    )
    names = {
        "nearest": {1: "nearest"},
        "linear": {1: "linear", 2: "bilinear", 3: "trilinear"},
        "cubic": {2: "bicubic"},
    }
    spatial = x.dim() - 2
    name = names.get(mode, {}).get(1 if mode == "nearest" else spatial)
    allowed = (
        ("asymmetric", "half_pixel")
        if mode == "nearest"
        else ("half_pixel", "pytorch_half_pixel", "align_corners")
    )
    if name is None or form not in allowed:
        raise TaskError(
            f"The operator {node} resizes by {mode} with {form}, which torch lacks: export another form."
        )
    size: Any = None if sizes is None else numbers(node, sizes)[-spatial:]
    factors: Any = None if scales is None else [float(one) for one in scales[-spatial:]]
    corners = None if mode == "nearest" else form == "align_corners"
    return F.interpolate(x, size, None if size else factors, name, corners)


def _scales(node: Node, values: tuple[Value, ...]) -> list[float] | None:
    if "scales" in node.attributes:  # Upsample before opset 9
        return list(node.attributes["scales"])
    position = 0 if len(values) == 1 else 1
    value = values[position] if len(values) > position else None
    return numbers(node, value) or None if value is not None else None
