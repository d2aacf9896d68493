"""The nodes of a linear layer in a filled model, for precisions that replace them."""

import onnx

from ....errors import StageError
from ..export import Template
from ..writer import attribute_of

DOMAIN = "com.microsoft"  # of ONNX Runtime's own operators


def linear_nodes(
    model: onnx.ModelProto, template: Template, parameter: str, *, layer: str, precision: str
) -> tuple[str, list[onnx.NodeProto]]:
    """The initializer of a layer's weight, and the MatMul and Gemm nodes that multiply with it. StageError
    where something else reads it.
    """
    initializer = template.parameters[parameter].initializer if parameter in template.parameters else ""
    nodes = [node for node in model.graph.node if initializer in node.input]
    if not nodes or not all(_is_linear(node, initializer) for node in nodes):
        problem = f"the exported model does not multiply with the weight of {layer} as it is"
        raise StageError(f"{problem}: no {precision}", stage="build")
    return initializer, nodes


def import_domain(model: onnx.ModelProto) -> None:
    """Lets the model have operators of ONNX Runtime."""
    if all(opset.domain != DOMAIN for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))


def _is_linear(node: onnx.NodeProto, weight: str) -> bool:
    """Whether the node is x · W with this weight, plus at most a bias."""
    plain = (
        not attribute_of(node, "transA", 0)
        and attribute_of(node, "alpha", 1.0) == 1.0
        and attribute_of(node, "beta", 1.0) == 1.0
    )
    return node.op_type in ("MatMul", "Gemm") and plain and list(node.input).index(weight) == 1
