"""Follows channels through a traced graph: which rule treats which ATen operation."""

from collections.abc import Callable

from torch import fx

from . import follow_layers as layers
from . import follow_shapes as shapes
from .channels import ChannelMap, Layout
from .follow_reader import Reader, unfollowed
from .graph import CONVOLUTIONS, operation

Rule = Callable[[Reader, fx.Node], Layout | None]

_SAME = frozenset(
    "relu relu6 gelu silu mish sigmoid tanh hardtanh hardsigmoid hardswish leaky_relu elu selu celu softplus exp neg abs sqrt "
    "rsqrt pow clamp clamp_min clamp_max dropout feature_dropout alpha_dropout clone contiguous detach alias to _to_copy "
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool2d upsample_nearest2d upsample_bilinear2d".split()
)
_BINARY = frozenset(["add", "sub", "mul", "div", "maximum", "minimum"])


def follow_channels(module: fx.GraphModule) -> ChannelMap:
    """The channel map of a traced graph (`trace`); unknown operations pin the channels that enter them."""
    reader = Reader(module)
    for node in module.graph.nodes:
        if node.op == "call_function":
            layout = _RULES.get(operation(node), unfollowed)(reader, node)
            if layout is not None:
                reader.layouts[node] = layout
        elif node.op == "output":
            reader.pin_inputs(node, "it is the model's output")
    return reader.map


_RULES: dict[str, Rule] = {
    **dict.fromkeys(CONVOLUTIONS, layers.convolution),
    **dict.fromkeys(_SAME, layers.same),
    **dict.fromkeys(_BINARY, layers.binary),
    "linear": layers.linear,
    "batch_norm": layers.batch_norm,
    "cat": shapes.cat,
    "pad": shapes.pad,
    "constant_pad_nd": shapes.pad,
    "slice": shapes.slice_,
    "split": shapes.split,
    "split_with_sizes": shapes.split,
    "chunk": shapes.split,
    "getitem": shapes.getitem,
    "mean": shapes.mean,
    "flatten": shapes.flatten,
    "view": shapes.flatten,
    "reshape": shapes.flatten,
    "_unsafe_view": shapes.flatten,
    "permute": shapes.permute,
    "transpose": shapes.permute,
    "squeeze": shapes.squeeze,
    "unsqueeze": shapes.unsqueeze,
    "sym_size": shapes.read_size,
}
