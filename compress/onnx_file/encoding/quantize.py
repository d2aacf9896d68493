"""Static integer quantization of a folded graph: quantized tensors, their ranges, the integers of layers.

Weights have 8 or fewer bits, per output channel. The rest depends on the convention (`Activations`):

`uint8-asymmetric` (ONNX Runtime): activations are uint8 with a zero point, biases int32 (scale = input scale
· weight scale). Only the tensors that an int8 layer needs are quantized: its input, and its output behind its
ReLU. The output of a linear layer is quantized only if a ReLU follows, which ONNX Runtime would otherwise
compute with it in float32. Around a residual sum, operations that only move values (slice, pad, pooling)
carry the quantization of their input, so that the sum runs in int8 too.

`int8-symmetric` (TensorRT): activations are int8 with zero point 0, biases float32. Inputs of int8 layers are
quantized. Outputs are not: TensorRT fuses a layer with all that follows up to the next pair. Of a residual
sum each operand is quantized, except one that an int8 convolution makes only for the sum: TensorRT fuses the
sum into that convolution.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ...graph.graph import CONVOLUTIONS, argument, get_tensor, layer_nodes, operation
from ...levels.reconstruct import grid_limits, optimal_scale
from ...options import Activations
from ...recipe import BITS, Precision

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Affine quantization: x ≈ scale · (q - zero_point), q in 0..255, or in -128..127 if `signed`."""

    scale: float
    zero_point: int
    signed: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and largest q."""
        return (-128, 127) if self.signed else (0, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedLayer:
    """Integers of one layer: an int8 weight with values of `bits` bits, one scale per output channel."""

    weight: np.ndarray
    weight_scale: np.ndarray
    bits: int

    def dequantized_weight(self) -> np.ndarray:
        """The weight that the integers stand for."""
        scale = self.weight_scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return np.asarray(self.weight * scale, np.float32)

    def bias_scale(self, input_scale: float) -> np.ndarray:
        """One scale per output channel, float32: that of the input times that of the weight."""
        return np.asarray(np.float32(input_scale) * self.weight_scale, np.float32)

    def quantized_bias(self, bias: np.ndarray, input_scale: float) -> np.ndarray:
        """A bias as int32 in the scale of the sums of products, for a call with an input of this scale."""
        return np.asarray(np.rint(bias / self.bias_scale(input_scale)), np.int32)

    def rounded_bias(self, bias: np.ndarray, input_scale: float) -> np.ndarray:
        """The bias that those integers stand for."""
        integers = self.quantized_bias(bias, input_scale)
        return np.asarray(integers * self.bias_scale(input_scale), np.float32)


def plan_quantization(
    module: fx.GraphModule, layers: Set[str], activations: Activations = "uint8-asymmetric"
) -> Plan:
    """The plan by which `layers` of a folded graph run in int8."""
    tensors: dict[str, str] = {}
    asymmetric = activations == "uint8-asymmetric"
    for name, node in layer_nodes(module):
        if name in layers:
            _mark(argument(node, 0), tensors)
            output = _after_activation(node)
            if asymmetric and (operation(node) in CONVOLUTIONS or output is not node):
                _mark(output, tensors)
    if asymmetric:
        _mark_operands(module, tensors)
    else:
        _mark_shortcuts(module, layers, tensors)
    return Plan(layers=frozenset(layers), tensors=tensors)


def _mark_operands(module: fx.GraphModule, tensors: dict[str, str]) -> None:
    """Quantizes operands of quantized sums and concatenations that carry a quantized tensor."""
    for node in module.graph.nodes:
        if operation(node) in ("add", "cat") and _after_activation(node).name in tensors:
            for source in node.all_input_nodes:
                if _carried_from(source).name in tensors:
                    _mark(source, tensors)


def _mark_shortcuts(module: fx.GraphModule, layers: Set[str], tensors: dict[str, str]) -> None:
    """Quantizes what is added to the output of an int8 convolution."""
    convolutions = {
        node for name, node in layer_nodes(module) if name in layers and operation(node) in CONVOLUTIONS
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


class _RangeRecorder(fx.Interpreter):
    """Runs a graph and widens the ranges of the named nodes."""

    def __init__(self, module: fx.GraphModule, ranges: dict[str, tuple[float, float]]):
        super().__init__(module)
        self.ranges = ranges

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.ranges:
            low, high = self.ranges[n.name]
            smallest, largest = torch.aminmax(result)
            if not torch.isfinite(smallest) or not torch.isfinite(largest):
                raise ValueError(f"the values of {n.name} are not finite on the calibration set")
            self.ranges[n.name] = min(low, float(smallest)), max(high, float(largest))
        return result


def observe_ranges(
    module: fx.GraphModule, nodes: Iterable[str], inputs: Iterable[tuple[Tensor, ...]]
) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of the nodes over all batches of `inputs`; zero is always inside."""
    ranges = dict.fromkeys(nodes, (0.0, 0.0))
    recorder = _RangeRecorder(module, ranges)
    with torch.inference_mode():
        for batch in inputs:
            recorder.run(*batch)
    return ranges


def scale_of_range(low: float, high: float, activations: Activations = "uint8-asymmetric") -> Scale:
    """The scale of a range; raises ValueError for a range that is not finite."""
    low, high = min(low, 0.0), max(high, 0.0)
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueError(f"the activations' range is not finite: {low} to {high}")
    if activations == "int8-symmetric":
        return Scale(scale=float(np.float32(max(-low, high) / 127)) or 1.0, zero_point=0, signed=True)
    scale = float(np.float32((high - low) / 255)) or 1.0
    return Scale(scale=scale, zero_point=int(np.clip(round(-low / scale), 0, 255)))


def quantize_layer(
    weight: np.ndarray,
    calls: Iterable[tuple[np.ndarray, float]] = (),
    *,
    bits: int = 8,
    scale: np.ndarray | None = None,
) -> QuantizedLayer:
    """A layer's integers: weight out × in × …, symmetric per output channel.

    `calls` has the bias and the input scale of each call with an int32 bias, which must fit. `scale` are the
    steps (one per output channel) of a weight that is on a grid already; its integers are restored exactly.
    Without it, 8 bits reach to the largest magnitude, and fewer bits get the scale of least error.
    """
    if scale is None:
        rows = weight.reshape(len(weight), -1)
        scale = _largest_scale(rows) if bits == 8 else mse_scale(rows, bits)
    for bias, input_scale in calls:
        scale = np.maximum(scale, np.abs(bias) / (input_scale * 2**30))
    scale = scale.astype(np.float32)
    shaped = scale.reshape(-1, *[1] * (weight.ndim - 1))
    integers = np.clip(np.rint(weight / shaped), *grid_limits(bits)).astype(np.int8)
    return QuantizedLayer(weight=integers, weight_scale=scale, bits=bits)


def _largest_scale(rows: np.ndarray) -> np.ndarray:
    largest = np.abs(rows).max(axis=1)
    return np.where(largest > 0, largest / 127, 1.0)


def mse_scale(rows: np.ndarray, bits: int) -> np.ndarray:
    """The step size of each row (out × in, float32) for which rounding to nearest has the least error."""
    weight = torch.from_numpy(np.ascontiguousarray(rows)).unsqueeze(0)
    return optimal_scale(weight, torch.ones(1, rows.shape[1]), bits).squeeze(0).numpy()


def quantize_layers(
    module: fx.GraphModule,
    plan: Plan,
    scales: Mapping[str, Scale],
    precision: Mapping[str, Precision],
    weight_scales: Mapping[str, np.ndarray],
) -> dict[str, QuantizedLayer]:
    """The integers of every layer in the plan; `weight_scales` are the steps of weights that are rounded
    already.
    """
    calls: dict[str, list[fx.Node]] = {}
    for name, node in layer_nodes(module):
        if name in plan.layers:
            calls.setdefault(name, []).append(node)
    return {
        name: quantize_layer(
            _values(module, argument(nodes[0], 1)),
            _integer_biases(module, nodes, plan, scales),
            bits=BITS[precision[name]],
            scale=weight_scales.get(name),
        )
        for name, nodes in calls.items()
    }


def _integer_biases(
    module: fx.GraphModule, nodes: Iterable[fx.Node], plan: Plan, scales: Mapping[str, Scale]
) -> Iterator[tuple[np.ndarray, float]]:
    """Bias and input scale of each call of a layer with an int32 bias."""
    for node in nodes:
        scale, bias = scales[plan.tensors[argument(node, 0).name]], argument(node, 2)
        if bias is not None and not scale.signed:
            yield _values(module, bias), scale.scale


def _values(module: fx.GraphModule, parameter: fx.Node) -> np.ndarray:
    return np.asarray(get_tensor(module, str(parameter.target)).detach().numpy())
