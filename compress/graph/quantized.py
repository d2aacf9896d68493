"""Which tensors of a graph are quantized when some of its layers run in int8.

The convention (`Activations`) decides:

`uint8-asymmetric` (ONNX Runtime): activations are uint8 with a zero point, biases int32 (scale = input scale
· weight scale). Only the tensors that an int8 layer needs are quantized: its input, and its output behind its
ReLU. The output of a linear layer is quantized only if a ReLU follows, which ONNX Runtime would otherwise
compute with it in float32. Around a residual sum, operations that only move values (slice, pad, pooling)
carry the quantization of their input, so that the sum runs in int8 too.

`int8-asymmetric` (LiteRT): the same, and the output of every int8 layer is quantized, because LiteRT's
integer kernels write integers. The ONNX graph has uint8; LiteRT's file has the same numbers less 128
(`litert_file`).

`int8-symmetric` (TensorRT): activations are int8 with zero point 0, biases float32. Inputs of int8 layers are
quantized. Outputs are not: TensorRT fuses a layer with all that follows up to the next pair. Of a residual
sum each operand is quantized, except one that an int8 convolution makes only for the sum: TensorRT fuses the
sum into that convolution.

A normalization that folding will make part of the layer before it counts as that layer, so that a graph and
its folded form have the same plan, but for the name of such a tensor.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from torch import fx

from ..options import Activations
from .graph import CONVOLUTIONS, argument, folded_norms, layer_nodes, operation

_CARRIES = frozenset(
    "max_pool1d max_pool2d flatten view reshape _unsafe_view pad constant_pad_nd slice permute transpose "
    "squeeze unsqueeze clone dropout contiguous".split()
)
_AVERAGES = frozenset({"adaptive_avg_pool2d"})
_ACTIVATIONS = frozenset({"relu", "relu6", "hardtanh"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`layers` run in int8. `tensors`: by quantized node, the node whose range it has, mostly itself."""

    layers: frozenset[str]
    tensors: Mapping[str, str]


def plan_quantization(
    module: fx.GraphModule, layers: Set[str], activations: Activations = "uint8-asymmetric"
) -> Plan:
    """The plan by which `layers` of a graph run in int8."""
    tensors: dict[str, str] = {}
    asymmetric, outputs = activations != "int8-symmetric", activations == "int8-asymmetric"
    ends = layer_ends(module)
    for name, node in layer_nodes(module):
        if name in layers:
            _mark(argument(node, 0), tensors)
            end = ends.get(node, node)
            output = _after_activation(end)
            if asymmetric and (operation(node) in CONVOLUTIONS or output is not end or outputs):
                _mark(output, tensors)
    if asymmetric:
        _mark_operands(module, tensors)
    else:
        _mark_shortcuts(module, layers, tensors)
    return Plan(layers=frozenset(layers), tensors=tensors)


def layer_ends(module: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """By layer, the normalization behind it that folding makes part of it."""
    return {argument(norm, 0): norm for norm in folded_norms(module)}


def _mark_operands(module: fx.GraphModule, tensors: dict[str, str]) -> None:
    """Quantizes operands of quantized sums and concatenations that carry a quantized tensor."""
    for node in module.graph.nodes:
        if operation(node) in ("add", "cat") and _after_activation(node).name in tensors:
            for source in node.all_input_nodes:
                if _carried_from(source).name in tensors:
                    _mark(source, tensors)


def _mark_shortcuts(module: fx.GraphModule, layers: Set[str], tensors: dict[str, str]) -> None:
    """Quantizes what is added to the output of an int8 convolution."""
    ends = layer_ends(module)
    convolutions = {
        ends.get(node, node)
        for name, node in layer_nodes(module)
        if name in layers and operation(node) in CONVOLUTIONS
    }
    for node in module.graph.nodes:
        fused = next((n for n in node.all_input_nodes if n in convolutions and len(n.users) == 1), None)
        if operation(node) == "add" and fused is not None:
            for source in node.all_input_nodes:
                if source is not fused and source.op != "get_attr":
                    _mark(source, tensors)


def _mark(node: Any, tensors: dict[str, str]) -> str:
    """Adds a node and the nodes whose values it carries; returns the node whose range it has."""
    if node.name in tensors:
        return tensors[node.name]
    source: str = node.name
    if operation(node) in _CARRIES and _carries_values(node):
        source = _mark(argument(node, 0), tensors)
    elif operation(node) in _AVERAGES:
        _mark(argument(node, 0), tensors)
    tensors[node.name] = source
    return source


def _carries_values(node: fx.Node) -> bool:
    """False for padding with another value than zero: the input's range may not contain it."""
    if operation(node) not in ("pad", "constant_pad_nd"):
        return True
    return not any(isinstance(value, float) and value for value in node.args[2:])


def _carried_from(node: fx.Node) -> fx.Node:
    while operation(node) in _CARRIES and _carries_values(node):
        node = node.all_input_nodes[0]
    return node


def _after_activation(node: fx.Node) -> fx.Node:
    users = list(node.users)
    return users[0] if len(users) == 1 and operation(users[0]) in _ACTIVATIONS else node
