"""The precision in which each layer really runs: from the graph that the runtime optimized, or from what it
reports by node.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import onnx

from ..compress.recipe import BITS, Precision
from .layer_times import layer_matcher

INT8_OPERATORS = frozenset(
    {
        "QLinearConv",
        "QLinearMatMul",
        "QGemm",
        "QAttention",
        "ConvInteger",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
    }
)
# Between a stored weight and the node that computes with it.
_PASS_THROUGH = frozenset({"DequantizeLinear", "QuantizeLinear", "Cast", "Transpose", "Reshape", "Identity"})


def executed_precision(
    optimized: onnx.ModelProto, layers: Iterable[str], *, original: onnx.ModelProto
) -> dict[str, Precision]:
    """By layer name, what the node that consumes its weight computes in.

    A layer's weight is every initializer whose name starts with `<layer>.weight`, and whatever the `original`
    model makes of it before it computes: a runtime that folds the conversion stores the weight under the name
    of its result. int8 means that the products are taken of integers, block4 that `MatMulNBits` unpacks 4-bit
    weights. A weight that is used twice in different ways counts as float32.

    A layer is left out if no weight of its own is in the optimized graph: the runtime removed it, or put
    another weight in its place (ONNX Runtime's WeightBiasQuantization does, and then the layer does not run
    in float32 any more).
    """
    before, after = _Consumers(original), _Consumers(optimized)
    stored = {item.name for model in (original, optimized) for item in model.graph.initializer}
    found: dict[str, Precision] = {}
    for layer in layers:
        own = {name for name in stored if name.startswith(f"{layer}.weight")}
        names = {name for weight in own for known in (before, after) for name in known.converted(weight)}
        computing = [node for name in names for node in after.of(name) if not after.converts(node)]
        if computing:
            found[layer] = _precision(computing)
    return found


def reported_precision(nodes: Mapping[str, str], layers: Iterable[str]) -> dict[str, Precision]:
    """By layer name, the precision of the ONNX nodes that are named after it, as the runtime reports them by
    node name.

    Of a layer that is called several times in different precisions, the widest counts. `bfloat16` may be
    among them, which no recipe can ask for. A layer is left out if none of its nodes is reported.
    """
    named = layer_matcher(layers)
    found: dict[str, str] = {}
    for node, precision in nodes.items():
        layer = named(node)
        if layer is not None and (layer not in found or _width(precision) > _width(found[layer])):
            found[layer] = precision
    return cast(dict[str, Precision], found)


def _width(precision: str) -> int:
    """Bits of a reported precision: of two with equally many, either may stand for both."""
    return {"float32": 32, "bfloat16": 16, "float16": 16}.get(precision, 8)


def _precision(computing: Sequence[onnx.NodeProto]) -> Precision:
    """What all of these nodes compute in. ONNX Runtime gives weights of 8 bits without integer inputs to
    `MatMulNBits`, too.
    """
    if all(node.op_type in INT8_OPERATORS for node in computing):
        return "int8"
    blocks = all(node.op_type == "MatMulNBits" and _bits(node) == BITS["block4"] for node in computing)
    return "block4" if blocks else "float32"


def _bits(node: onnx.NodeProto) -> int:
    return next((item.i for item in node.attribute if item.name == "bits"), 4)


class _Consumers:
    """Which nodes of a model take each tensor, and which of them merely convert a weight."""

    def __init__(self, model: onnx.ModelProto):
        self._nodes: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._constant = {item.name for item in model.graph.initializer} | {""}
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
