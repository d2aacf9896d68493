"""The integers of int8 layers: weights and biases of a folded graph.

Weights have 8 or fewer bits, per output channel. Which tensors are quantized says `graph/quantized.py`, how
activations are rounded `levels/activations.py`; biases are int32 where activations have a zero point (scale =
input scale · weight scale), else float32.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from ...graph.graph import argument, get_tensor, layer_nodes
from ...graph.quantized import Plan
from ...levels.activations import Scale
from ...levels.reconstruct import grid_limits, optimal_scale
from ...recipe import BITS, Precision


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
