"""A roofline: the least time that the hardware of a data sheet needs for a model's layers.

Every layer takes as long as its operations at the peak rate of its precision, or as long as its bytes
(weights, inputs, outputs) at the memory's rate, whichever is longer; starting a kernel costs the overhead.
What stands between layers (sums, pooling, changes of precision) counts as fused into them. Real kernels reach
a part of the peaks, small ones a small part: a roofline ranks models and bounds their latency from below, it
does not say what a board will need.

Source: Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
Architectures" (2009).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ...compress.graph.factors import saves
from ...compress.graph.layers import Layer
from ...compress.graph.network import LayerCost, Network
from ...compress.recipe import BITS, SPARSE, Precision, Recipe, executes_as
from ...profiles.profile import Datasheet
from .features import output_elements, tensor_class

SPARSE_SPEED = 2.0  # of 2:4 sparse operations against dense ones, as every data sheet counts them
SPARSE_BYTES: Mapping[Precision, float] = {
    "float16_24": 0.5625,
    "int8_24": 0.625,
}  # of the dense weight: half, and 2 bits for each


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The roofline of a network on the hardware of a data sheet, for inferences of `batch` samples."""

    network: Network
    sheet: Datasheet
    batch: int = 1

    def seconds(self, recipe: Recipe) -> float:
        """The least seconds of one inference of what the recipe leaves."""
        layers = self.network.at(recipe.resolution).layers
        costs = zip(layers, self.network.cost(recipe).layers, strict=True)
        return sum(
            self._layer_s(layer, cost, recipe.rank.get(layer.name))
            for layer, cost in costs
            if cost.channels_out
        )

    def _layer_s(self, layer: Layer, cost: LayerCost, rank: int | None) -> float:
        operations = 2 * cost.macs * self.batch
        moved = self._weight_bytes(layer, cost) + self._activation_bytes(layer, cost, rank)
        kernels = layer.uses * (2 if self._factored(cost, rank) else 1)
        longest = max(operations / self._peak(cost.precision), moved / self.sheet.memory_bytes_per_s)
        return longest + kernels * self.sheet.overhead_s

    def _peak(self, precision: Precision) -> float:
        """Operations per second; a precision that is not in the data sheet runs at the rate of float32."""
        peaks = self.sheet.peak_flops
        dense = peaks.get(executes_as(precision)) or peaks.get("float32") or min(peaks.values())
        return dense * (SPARSE_SPEED if precision in SPARSE else 1.0)

    def _weight_bytes(self, layer: Layer, cost: LayerCost) -> float:
        """The weight as kernels read it: fewer bits than 8 were expanded when the model was loaded, 4-bit
        blocks were not. Of a table only some rows are read.
        """
        if layer.kind == "embedding":
            return self.batch * layer.elements_in * cost.channels_out * BITS["float32"] / 8
        stored = BITS["block4"] if cost.precision == "block4" else BITS[executes_as(cost.precision)]
        return layer.uses * cost.parameters * stored / 8 * SPARSE_BYTES.get(cost.precision, 1.0)

    def _activation_bytes(self, layer: Layer, cost: LayerCost, rank: int | None) -> float:
        """What is read and written for all samples; between two factors a tensor is written and read."""
        places = output_elements(layer) / layer.channels_out
        places_in = layer.elements_in / layer.channels_in or places
        between = 2 * places * rank if rank and self._factored(cost, rank) else 0.0
        written, read = places * cost.channels_out, places_in * cost.channels_in
        return self.batch * (read + written + between) * BITS[tensor_class(cost.precision)] / 8

    @staticmethod
    def _factored(cost: LayerCost, rank: int | None) -> bool:
        return rank is not None and saves(rank, cost.channels_out, cost.channels_in)
