"""Writes linear layers whose weights have 4 bits and a scale for each block of inputs
(`levels/value_grids.py`).

ONNX Runtime's `MatMulNBits` (domain com.microsoft) computes y = x · Ŵᵀ with such a weight and float32
activations.
"""

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper

from ...levels.value_grids import BlockQuantized
from ...recipe import BLOCK
from ..export import Template
from ..writer import ModelWriter
from .linear import DOMAIN, import_domain, linear_nodes


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
    import_domain(model)
    for name, (weight, blocks) in layers.items():
        initializer, nodes = linear_nodes(model, template, weight, layer=name, precision="block4")
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
        "MatMulNBits", inputs, list(node.output), domain=DOMAIN, K=blocks.columns, N=len(blocks.packed)
    )
    replacement.attribute.extend(
        [helper.make_attribute("bits", 4), helper.make_attribute("block_size", BLOCK)]
    )
    node.CopyFrom(replacement)
