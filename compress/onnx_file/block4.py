"""Weight-only 4 bits: a linear layer with float32 activations whose weights share a scale in blocks along the
input.

ONNX Runtime's `MatMulNBits` (domain com.microsoft) computes with it: y = x · Ŵᵀ, ŵ = scale · (q - 8), q in
0..15. The scale is signed, so that the value of the largest magnitude gets the integer -8 (as in GGML's
Q4_0). Scales are stored in float16.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import fx

from ...errors import StageError
from ..graph.graph import argument, get_tensor, layer_nodes, set_tensor
from ..recipe import BLOCK
from .export import Template
from .writer import ModelWriter

_SHRINKS = np.linspace(1.0, 0.7, 16)
_DOMAIN = "com.microsoft"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockQuantized:
    """A weight of `columns` inputs: `packed` uint8 rows × blocks × 16, low half first, `scales` float16 rows
    × blocks.
    """

    packed: np.ndarray
    scales: np.ndarray
    columns: int

    def dequantized(self) -> np.ndarray:
        """The weight that the integers stand for: float32, rows × columns."""
        integers = np.stack([self.packed & 15, self.packed >> 4], -1).reshape(*self.packed.shape[:2], BLOCK)
        values = (integers.astype(np.float32) - 8) * self.scales.astype(np.float32)[..., np.newaxis]
        return np.ascontiguousarray(values.reshape(len(values), -1)[:, : self.columns])


def quantize_blocks(weight: np.ndarray) -> BlockQuantized:
    """The blocks of a weight (rows × columns) with the scales of least squared error; the last block is
    filled with zeros.

    A dequantized weight gives the same blocks again: each has a value at -8, which the first scale tried
    restores. ValueError when a scale is too large for float16.
    """
    rows, columns = weight.shape
    blocks = np.pad(weight.astype(np.float32), ((0, 0), (0, -columns % BLOCK))).reshape(rows, -1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., np.newaxis], -1).squeeze(-1)
    if np.abs(largest).max(initial=0) / 8 > np.finfo(np.float16).max:
        raise ValueError(
            f"a weight of {np.abs(largest).max():.3g} has no block4 scale in float16: keep the layer in float32"
        )
    best = np.full(largest.shape, np.inf, np.float32)
    scales, integers = np.zeros(largest.shape, np.float16), np.zeros(blocks.shape, np.int8)
    for shrink in _SHRINKS:
        scale = (largest * np.float32(-shrink / 8)).astype(np.float16)
        step = scale.astype(np.float32)[..., np.newaxis]
        rounded = np.clip(np.rint(blocks / np.where(step == 0, np.float32(1), step)), -8, 7)
        error = np.square(rounded * step - blocks).sum(-1)
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
        integers = np.where(better[..., np.newaxis], rounded.astype(np.int8), integers)
    halves = (integers + 8).astype(np.uint8).reshape(rows, -1, BLOCK // 2, 2)
    return BlockQuantized(packed=halves[..., 0] | halves[..., 1] << 4, scales=scales, columns=columns)


def round_to_blocks(module: fx.GraphModule, layers: Collection[str]) -> dict[str, BlockQuantized]:
    """The blocks of the named linear layers; their weights in `module` become the dequantized ones."""
    found = {}
    for name, node in layer_nodes(module):
        if name in layers:
            weight = str(argument(node, 1).target)
            found[name] = quantize_blocks(get_tensor(module, weight).detach().numpy())
            set_tensor(module, weight, torch.from_numpy(found[name].dequantized()))
    return found


def write_blocks(
    model: onnx.ModelProto, template: Template, layers: Mapping[str, tuple[str, BlockQuantized]]
) -> None:
    """Makes `MatMulNBits` of the layers' MatMul and Gemm nodes, in place. `layers` gives weight parameter and
    blocks.

    The scales are cast to float32 when the session loads.
    """
    if not layers:
        return
    writer = ModelWriter(model)
    model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    for name, (weight, blocks) in layers.items():
        initializer = template.parameters[weight].initializer if weight in template.parameters else ""
        nodes = [node for node in model.graph.node if initializer in node.input]
        if not nodes or not all(_is_linear(node, initializer) for node in nodes):
            raise StageError(
                f"the exported model does not multiply with the weight of {name} as it is: no block4",
                stage="build",
            )
        stored = writer.add_initializer(blocks.packed, f"{name}.weight_q")
        halves = writer.add_initializer(
            blocks.scales.reshape(-1), writer.free_name(f"_w{len(writer.dropped)}s")
        )
        scales = writer.add_node("Cast", [halves], f"{halves}1", to=TensorProto.FLOAT)
        for node in nodes:
            _multiply_blocks(node, [stored, scales], blocks)
        writer.dropped.add(initializer)
    writer.finish()


def _is_linear(node: onnx.NodeProto, weight: str) -> bool:
    """Whether the node is x · W with this weight, plus a bias at most."""
    values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    plain = not values.get("transA", 0) and values.get("alpha", 1.0) == 1.0 and values.get("beta", 1.0) == 1.0
    return node.op_type in ("MatMul", "Gemm") and plain and list(node.input).index(weight) == 1


def _multiply_blocks(node: onnx.NodeProto, inputs: list[str], blocks: BlockQuantized) -> None:
    bias = (
        ["", "", node.input[2]] if len(node.input) > 2 else []
    )  # zero points and the order of columns are left out
    inputs = [node.input[0], *inputs, *bias]
    replacement = helper.make_node(
        "MatMulNBits", inputs, list(node.output), domain=_DOMAIN, K=blocks.columns, N=len(blocks.packed)
    )
    replacement.attribute.extend(
        [helper.make_attribute("bits", 4), helper.make_attribute("block_size", BLOCK)]
    )
    node.CopyFrom(replacement)
