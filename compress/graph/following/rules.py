"""Follows channels through a traced graph: a table gives the rule of each ATen operation."""

from collections.abc import Callable

import torch
from torch import fx

from ..channels import ChannelMap, Layout
from ..graph import CONVOLUTIONS, RECURRENT, TRANSPOSED, operation
from . import attention, layers, shapes
from .follower import Follower, unfollowed

Rule = Callable[[Follower, fx.Node], Layout | None]

_SAME = frozenset(
    "relu relu6 gelu silu mish sigmoid tanh hardtanh hardsigmoid hardswish leaky_relu elu selu celu softplus "
    "exp neg abs sqrt rsqrt pow clamp clamp_min clamp_max dropout feature_dropout alpha_dropout "
    "clone contiguous detach alias to type_as _to_copy roll".split()
)
_POOLING = frozenset(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "upsample_nearest2d upsample_bilinear2d".split()
)
_BINARY = frozenset(
    "add sub rsub mul div maximum minimum addcmul addcdiv lerp where masked_fill gt ge lt le eq ne".split()
)


def follow_channels(module: fx.GraphModule) -> ChannelMap:
    """The channel map of a traced graph (`trace`); operations without a rule pin the channels that enter
    them.
    """
    follower = Follower(module)
    for node in module.graph.nodes:
        if node.op == "call_function":
            rule = _RULES.get(operation(node), unfollowed)
            if isinstance(node.meta.get("val"), torch.SymInt) and rule is not shapes.read_size:
                continue  # arithmetic with sizes
            layout = rule(follower, node)
            if layout is not None:
                follower.layouts[node] = layout
        elif node.op == "output":
            follower.pin_inputs(node, "it is the model's output")
    return follower.map


def _extreme(follower: Follower, node: fx.Node) -> Layout | None:
    """`max` and `min` of two tensors, or of one along a dimension."""
    pair = len(node.all_input_nodes) > 1
    return layers.binary(follower, node) if pair else shapes.reduce(follower, node)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(CONVOLUTIONS, layers.convolution),
    **dict.fromkeys(_SAME, layers.same),
    **dict.fromkeys(_POOLING, layers.spatial),
    **dict.fromkeys(_BINARY, layers.binary),
    **dict.fromkeys(TRANSPOSED, layers.transposed_convolution),
    **dict.fromkeys(RECURRENT, layers.recurrent),
    **dict.fromkeys(["layer_norm", "rms_norm", "group_norm"], layers.normalized),
    "linear": layers.linear,
    "embedding": layers.embedding,
    "prelu": layers.prelu,
    "batch_norm": layers.batch_norm,
    "cat": shapes.cat,
    "pad": shapes.pad,
    "constant_pad_nd": shapes.pad,
    "slice": shapes.slice_,
    "split": shapes.split,
    "split_with_sizes": shapes.split,
    "chunk": shapes.split,
    "getitem": shapes.getitem,
    **dict.fromkeys("mean sum amax amin var std norm linalg_vector_norm".split(), shapes.reduce),
    **dict.fromkeys(["max", "min"], _extreme),
    "stack": shapes.stack,
    "expand": shapes.expand,
    "expand_as": shapes.expand_as,
    "repeat_interleave": shapes.repeat_interleave,
    "pixel_shuffle": shapes.pixel_shuffle,
    "index": shapes.table_rows,
    "gather": attention.gather,
    **dict.fromkeys(["view", "reshape", "_unsafe_view", "flatten", "unflatten"], attention.view),
    **dict.fromkeys(["view_as", "reshape_as"], attention.view_as),
    **dict.fromkeys(["permute", "transpose"], attention.permute),
    **dict.fromkeys(["matmul", "bmm"], attention.matmul),
    **dict.fromkeys(["softmax", "_softmax", "log_softmax"], attention.softmax),
    **dict.fromkeys(["select", "unbind"], attention.index),
    "scaled_dot_product_attention": attention.dot_product_attention,
    "squeeze": shapes.squeeze,
    "unsqueeze": shapes.unsqueeze,
    "sym_size": shapes.read_size,
    **dict.fromkeys(["new_empty", "new_full", "new_ones", "new_zeros"], shapes.read_type),
}
