"""The precision in which each layer really runs, read from the graph that the runtime optimized."""

from collections import defaultdict
from collections.abc import Iterable

import onnx

from ..compress.recipe import Precision

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


def executed_precision(optimized: onnx.ModelProto, layers: Iterable[str], *, original: onnx.ModelProto) -> dict[str, Precision]:
    """By layer name, what the node that consumes its weight computes in.

    A layer's weight is every initializer whose name starts with `<layer>.weight`, and whatever the `original` model makes
    of it before it computes: a runtime that folds the conversion stores the weight under the name of its result.
    int8 means that the products are taken of integers; `MatMulNBits` unpacks its weights and counts as float32.
    A weight that is used twice counts as int8 only if both uses are.

    A layer is left out if no weight of its own is in the optimized graph: the runtime removed it, or put another weight
    in its place (ONNX Runtime's WeightBiasQuantization does, and then the layer does not run in float32 any more).
    """
    before, after = _consumers(original), _consumers(optimized)
    stored = {item.name for model in (original, optimized) for item in model.graph.initializer}
    found: dict[str, Precision] = {}
    for layer in layers:
        own = {name for name in stored if name.startswith(f"{layer}.weight")}
        names = {name for weight in own for known in (before, after) for name in _converted(weight, known)}
        computing = [node for name in names for node in after.get(name, ()) if node.op_type not in _PASS_THROUGH]
        if computing:
            found[layer] = "int8" if {node.op_type for node in computing} <= INT8_OPERATORS else "float32"
    return found


Consumers = dict[str, list[onnx.NodeProto]]


def _consumers(model: onnx.ModelProto) -> Consumers:
    """The nodes that take each tensor."""
    found: Consumers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            found[name].append(node)
    return found


def _converted(name: str, consumers: Consumers) -> set[str]:
    """The tensor itself, and everything that nodes which merely convert make of it."""
    onward = [node.output[0] for node in consumers.get(name, ()) if node.op_type in _PASS_THROUGH]
    return {name}.union(*(_converted(output, consumers) for output in onward))
