"""Layers that compute in fp8 (E4M3): QuantizeLinear/DequantizeLinear pairs, float32 biases.

The input has one scale, the weight one per output channel. The largest magnitude becomes 448.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
import torch
from torch import Tensor, fx

from ....errors import StageError
from ...graph.graph import argument, get_tensor, layer_nodes, set_tensor
from ...levels.value_grids import LARGEST_FP8, round_weight
from ..export import Template
from ..writer import ModelWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp8Layer:
    """A weight in fp8 (ml_dtypes.float8_e4m3fn), its scale per output channel, and the scale of the input."""

    weight: np.ndarray
    weight_scale: np.ndarray
    input_scale: float


def round_values(x: Tensor, scale: float) -> Tensor:
    """A layer's input after the pair in front of it."""
    return (x / scale).clamp(-LARGEST_FP8, LARGEST_FP8).to(torch.float8_e4m3fn).float() * scale


def round_to_fp8(module: fx.GraphModule, ranges: Mapping[str, tuple[float, float]]) -> dict[str, Fp8Layer]:
    """The layers in `ranges` (smallest and largest input by layer); their weights in `module` are rounded."""
    layers = {}
    for name, node in layer_nodes(module):
        if name in ranges:
            target = str(argument(node, 1).target)
            values, scale = round_weight(get_tensor(module, target).detach())
            set_tensor(module, target, values.float() * scale.reshape(-1, *[1] * (values.dim() - 1)))
            layers[name] = Fp8Layer(
                weight=values.view(torch.uint8).numpy().view(ml_dtypes.float8_e4m3fn),
                weight_scale=scale.numpy(),
                input_scale=float(np.float32(max(map(abs, ranges[name])) / LARGEST_FP8)) or 1.0,
            )
    return layers


def write_fp8(model: onnx.ModelProto, template: Template, layers: Mapping[str, tuple[str, Fp8Layer]]) -> None:
    """Writes the pairs of fp8 layers, in place. `layers` has the weight parameter and numbers by layer."""
    if not layers:
        return
    if model.opset_import[0].version < 19:
        raise StageError("fp8 needs opset 19 or later in the target's profile", stage="build")
    writer = ModelWriter(model)
    zero = writer.constant(np.zeros((), ml_dtypes.float8_e4m3fn), "_z8")
    pairs: dict[tuple[str, float], str] = {}
    for name, (weight, layer) in layers.items():
        initializer = template.parameters[weight].initializer if weight in template.parameters else ""
        nodes = [node for node in model.graph.node if initializer in node.input]
        if not nodes or any(node.op_type not in ("Conv", "Gemm", "MatMul") for node in nodes):
            message = f"the exported model does not hold the weight of {name} as it is: it cannot be fp8"
            raise StageError(message, stage="build")
        values, axis = (layer.weight.T, 1) if template.parameters[weight].transposed else (layer.weight, 0)
        stored = writer.add_initializer(np.ascontiguousarray(values), f"{name}.weight_q")
        writer.dropped.add(initializer)
        scales = writer.add_initializer(layer.weight_scale, writer.free_name(f"_f{len(writer.dropped)}"))
        writer.add_node("DequantizeLinear", [stored, scales], initializer, axis=axis)
        for node in nodes:
            key = node.input[0], layer.input_scale
            if key not in pairs:
                value, number = key[0], len(pairs)
                names = [writer.constant(np.array(layer.input_scale, np.float32), "_s8"), zero]
                quantized = writer.add_node("QuantizeLinear", [value, *names], f"{value}.q{number}")
                pairs[key] = writer.add_node("DequantizeLinear", [quantized, *names], f"{value}.d{number}")
            node.input[0] = pairs[key]
    writer.finish()
