"""The precision in which each layer really runs, read from the graph that ONNX Runtime optimized; and which
node a kernel of its profiler computes.

Runs on the machine of the search: it needs onnx.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Iterable, Mapping, Sequence

import onnx

INT8_OPERATORS = frozenset(
    "QLinearConv QLinearMatMul QGemm QAttention ConvInteger MatMulInteger MatMulIntegerToFloat "
    "DynamicQuantizeMatMul".split()
)
_BLOCK_BITS = 4  # of the weights that MatMulNBits unpacks in a block4 layer
_BLOCKED = "_nchwc"  # a float32 convolution in the blocked layout: its output's name, and this
_FUSED = "fused "
# Operators that the runtime fuses with the layer before them; the fused kernel is then named after their
# result.
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"})
# Between a stored weight and the node that computes with it.
_PASS_THROUGH = frozenset({"DequantizeLinear", "QuantizeLinear", "Cast", "Transpose", "Reshape", "Identity"})


def executed_precision(
    optimized: onnx.ModelProto, layers: Iterable[str], *, original: onnx.ModelProto
) -> dict[str, str]:
    """By layer name, what the node that consumes its weight computes in: float32, int8 or block4.

    A layer's weight is every initializer whose name starts with `<layer>.weight`, and whatever the `original`
    model makes of it before it computes: a runtime that folds the conversion stores the weight under the name
    of its result. int8 means that the products are taken of integers, block4 that `MatMulNBits` unpacks 4-bit
    weights. A weight that is used twice in different ways counts as float32.

    A layer is left out if no weight of its own is in the optimized graph: the runtime removed it, or put
    another weight in its place (ONNX Runtime's WeightBiasQuantization does, and then the layer does not run
    in float32 any more).
    """
    before, after = _Consumers(original), _Consumers(optimized)
    stored = {tensor.name for model in (original, optimized) for tensor in model.graph.initializer}
    precisions: dict[str, str] = {}
    for layer in layers:
        weights = {name for name in stored if name.startswith(f"{layer}.weight")}
        names = {name for weight in weights for name in before.converted(weight) | after.converted(weight)}
        computing = [node for name in names for node in after.of(name) if not after.converts(node)]
        if computing:
            precisions[layer] = _precision(computing)
    return precisions


def seconds_by_node(kernels: Mapping[str, float], model: onnx.ModelProto) -> dict[str, float]:
    """The seconds of the profiler's kernels by the node of `model` that each computes.

    A kernel keeps its node's name (`conv1`, `fused conv1`, `fc/MatMulAddFusion`), or is named after its
    output: `_4_nchwc`.
    """
    producers = _producers(model)
    seconds: dict[str, float] = {}
    for kernel, kernel_s in kernels.items():
        if kernel.endswith(_BLOCKED):
            node = producers.get(kernel[: -len(_BLOCKED)], "")
        elif kernel.startswith(_FUSED):
            node = kernel[len(_FUSED) :]
        else:
            node = kernel
        seconds[node] = seconds.get(node, 0.0) + kernel_s
    return seconds


def _producers(model: onnx.ModelProto) -> dict[str, str]:
    """By tensor, the name of the node that makes it, activations behind a named node included."""
    producers: dict[str, str] = {}
    for node in model.graph.node:
        name = node.name
        if not name and node.op_type in _ACTIVATIONS:
            name = producers.get(node.input[0], "")
        producers.update(dict.fromkeys(node.output, name))
    return producers


def _precision(computing: Sequence[onnx.NodeProto]) -> str:
    """What all of these nodes compute in. ONNX Runtime gives weights of 8 bits without integer inputs to
    `MatMulNBits`, too.
    """
    if all(node.op_type in INT8_OPERATORS for node in computing):
        return "int8"
    blocks = all(node.op_type == "MatMulNBits" and _bits(node) == _BLOCK_BITS for node in computing)
    return "block4" if blocks else "float32"


def _bits(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "bits"), 4)


class _Consumers:
    """Which nodes of a model take each tensor, and which of them merely convert a weight."""

    def __init__(self, model: onnx.ModelProto):
        self._nodes: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._constant = {tensor.name for tensor in model.graph.initializer} | {""}
        for node in model.graph.node:
            if self._constant.issuperset(node.input):
                self._constant.update(node.output)
            for name in node.input:
                self._nodes[name].append(node)

    def of(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that take a tensor."""
        return self._nodes.get(name, [])

    def converts(self, node: onnx.NodeProto) -> bool:
        """Whether the node changes how a weight is stored, or unpacks it: all that it takes is constant."""
        return node.op_type in _PASS_THROUGH or self._constant.issuperset(node.input)

    def converted(self, name: str) -> set[str]:
        """The tensor itself, and everything that nodes which merely convert make of it."""
        onward = [node.output[0] for node in self.of(name) if self.converts(node)]
        return {name}.union(*(self.converted(output) for output in onward))
