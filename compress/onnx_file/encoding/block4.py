"""Writes linear layers whose weights have 4 bits and a scale for each block of inputs
(`levels/value_grids.py`).

ONNX Runtime's `MatMulNBits` (domain com.microsoft) computes y = x · Ŵᵀ with such a weight and float32
activations.
"""

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper

from ....errors import StageError
from ...levels.value_grids import BlockQuantized
from ...recipe import BLOCK
from ..export import Template
from ..writer import ModelWriter, is_linear

_DOMAIN = "com.microsoft"


def write_blocks(
    model: onnx.ModelProto, template: Template, layers: Mapping[str, tuple[str, BlockQuantized]]
) -> None:
    """Replaces the layers' MatMul and Gemm nodes by `MatMulNBits`, in place.

    `layers` has the weight parameter and the blocks by layer. The scales are cast to float32 when the session
    loads.
    """
    if not layers:
        return
    writer = ModelWriter(model)
    if all(opset.domain != _DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    for name, (weight, blocks) in layers.items():
        initializer = template.parameters[weight].initializer if weight in template.parameters else ""
        nodes = [node for node in model.graph.node if initializer in node.input]
        if not nodes or not all(is_linear(node, initializer) for node in nodes):
            message = f"the exported model does not multiply with the weight of {name} as it is: no block4"
            raise StageError(message, stage="build")
        stored = writer.add_initializer(blocks.packed, f"{name}.weight_q")
        scales_name = writer.free_name(f"_w{len(writer.dropped)}s")
        halves = writer.add_initializer(blocks.scales.reshape(-1), scales_name)
        scales = writer.add_node("Cast", [halves], f"{halves}1", to=TensorProto.FLOAT)
        for node in nodes:
            _multiply_blocks(node, [stored, scales], blocks)
        writer.dropped.add(initializer)
    writer.finish()


def _multiply_blocks(node: onnx.NodeProto, inputs: list[str], blocks: BlockQuantized) -> None:
    bias = ["", "", node.input[2]] if len(node.input) > 2 else []  # no zero points, no order of columns
    inputs = [node.input[0], *inputs, *bias]
    replacement = helper.make_node(
        "MatMulNBits", inputs, list(node.output), domain=_DOMAIN, K=blocks.columns, N=len(blocks.packed)
    )
    replacement.attribute.extend(
        [helper.make_attribute("bits", 4), helper.make_attribute("block_size", BLOCK)]
    )
    node.CopyFrom(replacement)
