"""Layers: convolutions, pools, norms and products."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ....errors import TaskError
from .graph import Node
from .values import Operator, Value, tensor

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def convolution(node: Node, x: Value, weight: Value, bias: Value = None) -> Value:
    rank = x.dim() - 2
    stride, dilation = _per_axis(node, "strides", rank), _per_axis(node, "dilations", rank)
    x, padding = _padded(node, x, weight.shape[2:], stride, dilation, filling=0.0)
    groups = node.attributes.get("group", 1)
    return _CONVOLUTIONS[rank](x, weight, _vector(bias), stride, padding, dilation, groups)


def transposed_convolution(node: Node, x: Value, weight: Value, bias: Value = None) -> Value:
    rank = x.dim() - 2
    pads = list(node.attributes.get("pads", [0] * 2 * rank))
    if (
        pads[:rank] != pads[rank:]
        or "output_shape" in node.attributes
        or _automatic(node) not in ("NOTSET", "VALID")
    ):
        raise TaskError(f"The operator {node} has uneven padding or a given output shape, which torch lacks.")
    stride, dilation = _per_axis(node, "strides", rank), _per_axis(node, "dilations", rank)
    extra = list(node.attributes.get("output_padding", [0] * rank))
    groups = node.attributes.get("group", 1)
    return _TRANSPOSED[rank](x, weight, _vector(bias), stride, pads[:rank], extra, groups, dilation)


def max_pool(node: Node, x: Value) -> Value:
    rank = x.dim() - 2
    if len(node.outputs) > 1:
        raise TaskError(f"The operator {node} gives indices too, which is not supported.")
    kernel = list(node.attributes["kernel_shape"])
    stride, dilation = _per_axis(node, "strides", rank), _per_axis(node, "dilations", rank)
    x, padding = _padded(node, x, kernel, stride, dilation, filling=float("-inf"))
    ceil = bool(node.attributes.get("ceil_mode", 0))
    return _MAX_POOLS[rank](x, kernel, stride, padding, dilation, ceil_mode=ceil)


def average_pool(node: Node, x: Value) -> Value:
    rank = x.dim() - 2
    kernel, stride = list(node.attributes["kernel_shape"]), _per_axis(node, "strides", rank)
    counted = bool(node.attributes.get("count_include_pad", 0))
    x, padding = _padded(node, x, kernel, stride, [1] * rank, filling=0.0 if counted else None)
    ceil = bool(node.attributes.get("ceil_mode", 0))
    return _AVERAGE_POOLS[rank](x, kernel, stride, padding, ceil, counted)


def global_pool(*, average: bool) -> Operator:
    """The mean or the largest of each channel."""
    pools = (
        {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
        if average
        else {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
    )
    return lambda node, x: pools[x.dim() - 2](x, 1)


def batch_norm(node: Node, x: Value, *values: Value) -> Value:
    weight, bias, mean, variance = map(tensor, values)
    return F.batch_norm(x, mean, variance, weight, bias, eps=node.attributes.get("epsilon", 1e-5))


def instance_norm(node: Node, x: Value, weight: Value, bias: Value) -> Value:
    return F.instance_norm(
        x, None, None, tensor(weight), tensor(bias), eps=node.attributes.get("epsilon", 1e-5)
    )


def layer_norm(node: Node, x: Value, weight: Value, bias: Value = None) -> Value:
    weight = tensor(weight)
    shape = list(x.shape[node.attributes.get("axis", -1) :])
    return F.layer_norm(x, shape, weight, _vector(bias), node.attributes.get("epsilon", 1e-5))


def rms_norm(node: Node, x: Value, weight: Value) -> Value:
    weight = tensor(weight)
    return F.rms_norm(
        x, list(x.shape[node.attributes.get("axis", -1) :]), weight, node.attributes.get("epsilon", 1e-5)
    )


def group_norm(node: Node, x: Value, weight: Value, bias: Value) -> Value:
    groups = node.attributes["num_groups"]
    scale, shift = tensor(weight), tensor(bias)
    if node.opset < 21:  # one for each group
        scale, shift = (one.repeat_interleave(x.shape[1] // groups) for one in (scale, shift))
    return F.group_norm(x, groups, scale, shift, node.attributes.get("epsilon", 1e-5))


def local_response_norm(node: Node, x: Value) -> Value:
    given = node.attributes
    return F.local_response_norm(
        x, given["size"], given.get("alpha", 1e-4), given.get("beta", 0.75), given.get("bias", 1.0)
    )


def product(node: Node, first: Value, second: Value) -> Value:
    return torch.matmul(tensor(first), tensor(second))


def general_product(node: Node, first: Value, second: Value, third: Value = None) -> Value:
    """Gemm: a linear layer, where it is one."""
    scale, share = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    first, second = tensor(first), tensor(second)
    first = first.t() if node.attributes.get("transA") else first
    added = _vector(third)
    if scale == 1 and (share == 1 or added is None) and (added is None or added.dim() <= 1):
        return F.linear(first, second if node.attributes.get("transB") else second.t(), added)
    result = first @ (second.t() if node.attributes.get("transB") else second) * scale
    return result if added is None else result + added * share


def einsum(node: Node, *values: Value) -> Value:
    return torch.einsum(node.attributes["equation"], *map(tensor, values))


def _vector(value: Value) -> Tensor | None:
    return None if value is None else tensor(value)


def _automatic(node: Node) -> str:
    return str(node.attributes.get("auto_pad", "NOTSET") or "NOTSET")


def _per_axis(node: Node, name: str, rank: int) -> list[int]:
    return list(node.attributes.get(name, [1] * rank))


def _padded(
    node: Node,
    x: Tensor,
    kernel: Sequence[int],
    stride: list[int],
    dilation: list[int],
    *,
    filling: float | None,
) -> tuple[Tensor, list[int]]:
    """The input, and the padding on both sides that torch's layer adds. Uneven padding is put on with
    `filling`, None where no number does.
    """
    rank = len(stride)
    pads = list(node.attributes.get("pads", [0] * 2 * rank))
    automatic = _automatic(node)
    if automatic == "VALID":
        pads = [0] * 2 * rank
    elif automatic != "NOTSET":
        pads = _same(x.shape[2:], kernel, stride, dilation, upper=automatic == "SAME_UPPER")
    if pads[:rank] == pads[rank:]:
        return x, pads[:rank]
    if filling is None:
        raise TaskError(f"The operator {node} has uneven padding that does not count, which torch lacks.")
    pairs = zip(pads[:rank], pads[rank:], strict=True)
    widths = [width for pair in reversed(list(pairs)) for width in pair]
    return F.pad(x, widths, "constant", filling), [0] * rank


def _same(
    sizes: Sequence[int], kernel: Sequence[int], stride: list[int], dilation: list[int], *, upper: bool
) -> list[int]:
    """Padding with which the output has size / stride."""
    before, after = [], []
    for size, width, step, spread in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((-(-size // step) - 1) * step + (width - 1) * spread + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if upper else large)
        after.append(large if upper else small)
    return before + after
