"""Network: a traced model with its layers, groups and blocks, and the cost of any recipe."""

import math
from collections.abc import Mapping, Sequence, Set
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx, nn

from ...errors import TaskError
from ...tasks.task import Dynamic, ExampleInputs, UsedTokens
from ..options import Int8Weights
from ..recipe import BITS, BLOCK, DYNAMIC, HALF, INTEGER, STORED, Precision, Recipe
from .blocks import Block, find_blocks
from .channels import ChannelMap, Exclusion, Group, groups_of
from .factors import saves
from .following.rules import follow_channels
from .graph import (
    argument,
    folded_norms,
    layer_name,
    make_norms_positive,
)
from .layers import Layer, LayerKind, attention_readers, has_fusable, layers_of
from .resolution import Resolution, all_resized, resized
from .rest import Remainder, read_without, remainders_of
from .tracing.trace import example_tensors, trace, unread_parameters
from .used_rows import UsedRows, place_bytes, used_rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """A layer under a recipe; all zero for one that is removed.

    `bytes` counts its weight, bias, scales and nodes in the file; it is a lower bound (93 to 99 % of the file
    of a ResNet-20, depending on the precision). Zeros of sparse weights are stored too. `bits` are those of a
    stored weight: 32 for int8 in a format that stores float32.
    """

    name: str
    kind: LayerKind
    channels_in: int
    channels_out: int
    macs: int
    parameters: int
    bytes: int
    bits: int
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a recipe leaves, from shapes alone, of layers and of all else that the file stores.

    `weight_bytes` is a lower bound of the file's size. MACs are those of the layers.
    """

    macs: int
    parameters: int
    weight_bytes: int
    layers: tuple[LayerCost, ...]


class Network:
    """A traced model, read once: `layers`, `groups`, what is excluded, and the cost of any recipe.

    `int8_weights` is that of the files in which costs are counted (`options.FileFormat`). `resolutions` are
    the smaller images on which it works, of those that were wished for, the largest first. `used_rows` are
    those of tables, by layer, that the task says to be read.
    """

    def __init__(self, module: fx.GraphModule, example_inputs: tuple[Tensor, ...]):
        self.int8_weights: Int8Weights = "int8"
        self.module = module
        self.example_inputs = example_inputs
        self.channels: ChannelMap = follow_channels(module)
        self.layers = layers_of(module)
        names = {layer.weight: layer.name for layer in self.layers}
        self.groups, self.excluded = groups_of(self.channels, names)
        self.blocks: tuple[Block, ...] = find_blocks(module)
        self.rest: tuple[Remainder, ...] = remainders_of(module, self.layers)
        self.fusable = has_fusable(module)
        self.attention_readers = attention_readers(module)
        self.resolutions: tuple[Resolution, ...] = ()
        self.used_rows: Mapping[str, UsedRows] = {}
        self._read: dict[tuple[str, ...], frozenset[str]] = {}
        self._resized: dict[Resolution, Network] = {}

    @classmethod
    def trace(
        cls,
        model: nn.Module,
        example_inputs: ExampleInputs,
        dynamic: Dynamic | None = None,
        *,
        resolutions: Sequence[float | Resolution] = (),
        used_tokens: UsedTokens | None = None,
    ) -> "Network":
        """The network of a model; `resolutions` that it cannot have (see Task) are excluded. `used_tokens`
        are by position.

        Raises TaskError when it cannot be exported, has nothing to compress, or weights that are not finite.
        """
        _require_finite(model)
        module = trace(model, example_inputs, dynamic)
        make_norms_positive(module)
        network = cls(module, example_tensors(example_inputs))
        names = unread_parameters(network.module)
        unread = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
        network.excluded += tuple(Exclusion(name=name, reason="the model never runs it") for name in unread)
        network.excluded += tuple(
            Exclusion(name=layer_name(one.names[0]), reason=f"it stays float32: {one.reason}")
            for one in network.rest
            if one.reason and one.trained
        )
        if not network.layers:
            raise TaskError(
                "The model has no convolution and no linear layer with a weight of its own: "
                "there is nothing to compress."
            )
        possible, impossible = all_resized(module, resolutions)
        network._resized = {size: cls(small, network.example_inputs) for size, small in possible.items()}
        network.resolutions = tuple(possible)
        network.used_rows, whole = used_rows_of(module, network.layers, used_tokens or {})
        network.excluded += (*impossible, *whole)
        return network

    def at(self, resolution: Resolution | None) -> "Network":
        """The network on images that it first resizes; itself for None. ResolutionError where it cannot."""
        if resolution is None:
            return self
        if resolution not in self._resized:
            self._resized[resolution] = Network(resized(self.module, resolution), self.example_inputs)
        return self._resized[resolution].stored_as(self.int8_weights)

    def stored_as(self, int8_weights: Int8Weights) -> "Network":
        """The same network with costs in the bytes and bits of another format."""
        if int8_weights == self.int8_weights:
            return self
        other = copy(self)
        other.int8_weights = int8_weights
        return other

    @cached_property
    def group_by_name(self) -> Mapping[str, Group]:
        """Groups by their names."""
        return {group.name: group for group in self.groups}

    @cached_property
    def units_along(self) -> Mapping[tuple[str, int], np.ndarray]:
        """By layer and dimension of its weight, the unit that each index belongs to."""
        names = {layer.weight: layer.name for layer in self.layers}
        return {
            (names[use.parameter], use.dim): self.channels.roots(use.slots)
            for use in self.channels.uses
            if use.parameter in names
        }

    def kept_inputs(self, layer: str, removed: Set[int]) -> Tensor | None:
        """The indices along dimension 1 of the layer's weight that remain; None if all do."""
        return self._kept(layer, 1, removed)

    def kept_outputs(self, layer: str, removed: Set[int]) -> Tensor:
        """The indices along dimension 0 of the layer's weight that remain."""
        remaining = self._kept(layer, 0, removed)
        if remaining is not None:
            return remaining
        return torch.arange(next(one.weight_shape[0] for one in self.layers if one.name == layer))

    def _kept(self, layer: str, dim: int, removed: Set[int]) -> Tensor | None:
        units = self.units_along.get((layer, dim))
        if units is None or not removed:
            return None
        remains = ~np.isin(units, list(removed))
        return None if remains.all() else torch.from_numpy(np.flatnonzero(remains))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample in all layers of the original model."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of parameters of the original model, running statistics not counted."""
        return sum(tensor.numel() for tensor in self.module.parameters())

    def cost(self, recipe: Recipe) -> Cost:
        """Shapes, MACs and bytes under the recipe; nothing is built. Normalization counts as folded."""
        if recipe.resolution is not None:
            return self.at(recipe.resolution).cost(replace(recipe, resolution=None))
        removed = {name for block in self.blocks if block.name in recipe.skip for name in block.layers}
        layers = []
        for layer in self.layers:
            gone = layer.name in removed
            layers.append(_nothing(layer) if gone else self._layer_cost(layer, recipe))
        rest_parameters, rest_bytes = self._rest_cost(recipe)
        return Cost(
            macs=sum(layer.macs for layer in layers),
            parameters=sum(layer.parameters for layer in layers) + rest_parameters,
            weight_bytes=sum(layer.bytes for layer in layers) + rest_bytes,
            layers=tuple(layers),
        )

    def _rest_cost(self, recipe: Recipe) -> tuple[int, int]:
        """Parameters and bytes outside the layers. Beside layers of 16 bits floats may have 16, too."""
        halved = not HALF.isdisjoint(recipe.precision.values())
        read = self._read_without(recipe.skip)
        parameters = stored = 0
        for one in self.rest:
            if read.isdisjoint(one.names):
                continue
            count = self._rest_count(one, recipe.keep)
            parameters += count * one.trained
            stored += count * (2 if halved and one.item_bytes == 4 else one.item_bytes)
        return parameters, stored

    def rest_bytes(self, one: Remainder, keep: Mapping[str, int]) -> int:
        """The bytes of a tensor beside the layers when the groups have that many units."""
        return self._rest_count(one, keep) * one.item_bytes

    def groups_of_rest(self, one: Remainder) -> list[str]:
        """The groups whose units are along a dimension of the tensor."""
        return [name for name, parameter, _ in self._indices_per_unit if parameter == one.names[0]]

    def blocks_with(self, one: Remainder) -> list[str]:
        """The blocks without which nothing reads the tensor."""
        names = [block.name for block in self.blocks]
        return [name for name in names if self._read_without((name,)).isdisjoint(one.names)]

    def _rest_count(self, one: Remainder, keep: Mapping[str, int]) -> int:
        sizes = [self._size(one.names[0], dim, size, keep) for dim, size in enumerate(one.shape)]
        return int(math.prod(sizes) * one.share)

    def _read_without(self, skip: tuple[str, ...]) -> frozenset[str]:
        if skip not in self._read:
            removed = [block for block in self.blocks if block.name in skip]
            self._read[skip] = read_without(self.module, removed)
        return self._read[skip]

    def _layer_cost(self, layer: Layer, recipe: Recipe) -> LayerCost:
        return self.layer_cost(
            layer,
            out=self._remaining(layer, layer.out_dim, recipe),
            into=self._remaining(layer, 1 - layer.out_dim, recipe),
            precision=recipe.precision.get(layer.name, "float32"),
            rank=recipe.rank.get(layer.name),
        )

    def layer_cost(
        self, layer: Layer, *, out: int, into: int, precision: Precision, rank: int | None
    ) -> LayerCost:
        """The cost of a layer whose weight has these sizes along its output and its input dimension."""
        kernel = layer.weight_numel // (layer.weight_shape[0] * layer.weight_shape[1])
        weights, has_bias = out * into * kernel, layer.bias is not None or layer.name in self._normalized
        scales = into if layer.kind == "embedding" else out
        if rank is not None and saves(rank, out, into):
            weights, scales = rank * (out + into), out + rank
        bias_bytes = (2 if precision in HALF else 4) * out * has_bias
        bits = BITS[precision]
        if bits == 8 and precision in INTEGER and self.int8_weights == "float32":
            bits = 32
        stored = (weights * bits + 7) // 8 + bias_bytes
        stored += _graph_bytes(layer.kind, precision, has_bias=has_bias)
        if precision == "block4":
            stored += 2 * -(-weights // BLOCK)
        elif precision in STORED | DYNAMIC:
            stored += 2 * scales
        elif precision in INTEGER or precision == "fp8":
            stored += 4 * scales
        if (
            layer.kind == "embedding" and into < layer.channels_in
        ):  # the places of all rows (graph/used_rows.py)
            stored += place_bytes(into) * layer.channels_in
        return LayerCost(
            name=layer.name,
            kind=layer.kind,
            channels_in=self._channels_in(layer, into, out),
            channels_out=out,
            macs=layer.macs * weights // layer.weight_numel,
            parameters=weights + out * has_bias,
            bytes=stored,
            bits=bits,
            precision=precision,
        )

    def groups_along(self, layer: Layer, dim: int) -> dict[str, int]:
        """The groups along this dimension of the layer's weight, with the number of indices of each unit."""
        counts = {
            group.name: self._indices_per_unit.get((group.name, layer.weight, dim), 0)
            for group in self.groups
        }
        return {name: count for name, count in counts.items() if count}

    def _channels_in(self, layer: Layer, into: int, out: int) -> int:
        groups = layer.channels_in // layer.weight_shape[1 - layer.out_dim]
        depthwise = groups > 1 and layer.weight_shape[1] == 1
        return out * layer.channels_in // layer.channels_out if depthwise else into * groups

    def _remaining(self, layer: Layer, dim: int, recipe: Recipe) -> int:
        """The size of a dimension of the layer's weight under the recipe."""
        if dim == 0 and recipe.used_rows and layer.name in self.used_rows:
            return len(self.used_rows[layer.name].rows)
        return self._size(layer.weight, dim, layer.weight_shape[dim], recipe.keep)

    def _size(self, parameter: str, dim: int, size: int, keep: Mapping[str, int]) -> int:
        for name, count in keep.items():
            removed = self.group_by_name[name].channels - count
            size -= removed * self._indices_per_unit.get((name, parameter, dim), 0)
        return size

    @cached_property
    def _indices_per_unit(self) -> Mapping[tuple[str, str, int], int]:
        return {
            (group.name, parameter, dim): len(index)
            for group in self.groups
            for (parameter, dim), index in group.units[0].indices.items()
        }

    @cached_property
    def _normalized(self) -> frozenset[str]:
        """Layers that get a bias when the batch normalization behind them is folded."""
        layers = [argument(node, 0) for node in folded_norms(self.module)]
        return frozenset(layer_name(str(argument(node, 1).target)) for node in layers)


def broken_values(model: nn.Module) -> list[str]:
    """Names of parameters that are not finite, and of buffers with NaN: a mask may be infinite."""
    names = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
    return names + [name for name, buffer in model.named_buffers() if torch.isnan(buffer).any()]


def _require_finite(model: nn.Module) -> None:
    bad = broken_values(model)
    if bad:
        raise TaskError(
            f"The model's {bad[0]} has NaN or infinite values: "
            "load a checkpoint whose weights are all finite."
        )


def _graph_bytes(kind: LayerKind, precision: Precision, *, has_bias: bool) -> int:
    """A lower bound for nodes and headers of initializers: the layer, dequantization and unpacking."""
    total = {"conv": 120, "linear": 40}.get(kind, 0)
    if precision in INTEGER:
        total += 120 + (85 if has_bias and kind == "conv" else 0)
        total += {8: 0, 4: 25}.get(BITS[precision], 170)
    if precision in STORED:
        total += {8: 140, 4: 140}.get(BITS[precision], 260)
    return total


def _nothing(layer: Layer) -> LayerCost:
    """The cost of a layer that is removed."""
    zero = {"channels_in": 0, "channels_out": 0, "macs": 0, "parameters": 0, "bytes": 0}
    return LayerCost(name=layer.name, kind=layer.kind, bits=BITS["float32"], precision="float32", **zero)
