"""Network: a traced model with its layers, its coupled channel groups and what a recipe makes of their shapes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, fx, nn

from ..errors import TaskError
from .blocks import Block, find_blocks
from .channels import ChannelMap, Group, groups_of
from .follow import follow_channels
from .graph import argument, batch_norms, get_tensor, layer_name, layer_nodes, operation, trace
from .recipe import BITS, Precision, Recipe

LayerKind = Literal["conv", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution or linear layer. `macs` are of one sample; `uses` how often the model calls it (a shared module)."""

    name: str
    kind: LayerKind
    weight: str
    bias: str | None
    weight_shape: tuple[int, ...]
    channels_in: int
    channels_out: int
    macs: int
    parameters: int
    uses: int

    @property
    def weight_numel(self) -> int:
        """Elements of the weight alone."""
        return math.prod(self.weight_shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """A layer under a recipe; all zero for one that is removed. `bytes` are of its weight, bias and scales as stored."""

    name: str
    kind: LayerKind
    channels_in: int
    channels_out: int
    macs: int
    parameters: int
    bytes: int
    precision: Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a recipe leaves, from shapes alone. `weight_bytes` is a lower bound of the file's size."""

    macs: int
    parameters: int
    weight_bytes: int
    layers: tuple[LayerCost, ...]


class Network:
    """A traced model, read once: `layers`, `groups`, what is excluded, and the cost of any recipe."""

    def __init__(self, module: fx.GraphModule, example_inputs: tuple[Tensor, ...]):
        self.module = module
        self.example_inputs = example_inputs
        self.channels: ChannelMap = follow_channels(module)
        self.layers = _layers(module)
        names = {layer.weight: layer.name for layer in self.layers}
        self.groups, self.excluded = groups_of(self.channels, names)
        self.blocks: tuple[Block, ...] = find_blocks(module)

    @classmethod
    def trace(cls, model: nn.Module, example_inputs: tuple[Tensor, ...]) -> "Network":
        """The network of a model. Raises TaskError when it cannot be exported or has nothing to compress."""
        network = cls(trace(model, example_inputs), example_inputs)
        if not network.layers:
            raise TaskError(
                "The model has no convolution and no linear layer with a weight of its own: there is nothing to compress."
            )
        return network

    @cached_property
    def group_by_name(self) -> Mapping[str, Group]:
        """Groups by their names."""
        return {group.name: group for group in self.groups}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample in all layers of the original model."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of parameters of the original model, running statistics not counted."""
        return sum(tensor.numel() for tensor in self.module.parameters())

    def cost(self, recipe: Recipe) -> Cost:
        """Shapes, MACs and bytes that the recipe leaves, computed without building anything. Normalization is counted as folded."""
        removed = {name for block in self.blocks if block.name in recipe.skip for name in block.layers}
        layers = tuple(_nothing(layer) if layer.name in removed else self._layer_cost(layer, recipe) for layer in self.layers)
        return Cost(
            macs=sum(layer.macs for layer in layers),
            parameters=sum(layer.parameters for layer in layers),
            weight_bytes=sum(layer.bytes for layer in layers),
            layers=layers,
        )

    def _layer_cost(self, layer: Layer, recipe: Recipe) -> LayerCost:
        out, into = (self._left(layer.weight, dim, layer.weight_shape[dim], recipe) for dim in (0, 1))
        kernel = layer.weight_numel // (layer.weight_shape[0] * layer.weight_shape[1])
        weights, has_bias = out * into * kernel, layer.bias is not None or layer.name in self._normalized
        if (rank := recipe.rank.get(layer.name)) is not None and rank * (out + into) < out * into:
            weights = rank * (out + into)
        precision = recipe.precision.get(layer.name, "float32")
        return LayerCost(
            name=layer.name,
            kind=layer.kind,
            channels_in=self._channels_in(layer, into, out),
            channels_out=out,
            macs=layer.macs * weights // layer.weight_numel,
            parameters=weights + out * has_bias,
            bytes=(weights * BITS[precision] + 7) // 8 + 4 * out * has_bias + (0 if precision == "float32" else 4 * out),
            precision=precision,
        )

    def _channels_in(self, layer: Layer, into: int, out: int) -> int:
        groups = layer.channels_in // layer.weight_shape[1]
        depthwise = groups > 1 and layer.weight_shape[1] == 1
        return out * layer.channels_in // layer.channels_out if depthwise else into * groups

    def _left(self, parameter: str, dim: int, size: int, recipe: Recipe) -> int:
        """Indices of a parameter's dimension that remain."""
        lost = 0
        for name, kept in recipe.keep.items():
            lost += (self.group_by_name[name].channels - kept) * self._indices_per_unit.get((name, parameter, dim), 0)
        return size - lost

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
        behind = (argument(node, 0) for node in batch_norms(self.module))
        return frozenset(
            layer_name(str(argument(node, 1).target))
            for node in behind
            if operation(node) in ("conv1d", "conv2d", "conv3d", "linear")
        )


def _nothing(layer: Layer) -> LayerCost:
    """The cost of a layer that is removed."""
    zero = {"channels_in": 0, "channels_out": 0, "macs": 0, "parameters": 0, "bytes": 0}
    return LayerCost(name=layer.name, kind=layer.kind, precision="float32", **zero)


def _layers(module: fx.GraphModule) -> tuple[Layer, ...]:
    found: dict[str, Layer] = {}
    for name, node in layer_nodes(module):
        weight = str(argument(node, 1).target)
        shape = tuple(get_tensor(module, weight).shape)
        kind: LayerKind = "linear" if operation(node) == "linear" else "conv"
        groups = 1 if kind == "linear" else int(argument(node, 6, 1))
        bias = argument(node, 2)
        macs, uses = _positions(node) * (torch.Size(shape).numel() // shape[0]), 1
        if name in found:
            macs, uses = macs + found[name].macs, found[name].uses + 1
        found[name] = Layer(
            name=name,
            kind=kind,
            weight=weight,
            bias=None if bias is None else str(bias.target),
            weight_shape=shape,
            channels_in=shape[1] * groups,
            channels_out=shape[0],
            macs=macs,
            parameters=torch.Size(shape).numel() + (0 if bias is None else shape[0]),
            uses=uses,
        )
    return tuple(found.values())


def _positions(node: fx.Node) -> int:
    """Elements of the layer's output for one sample; the batch size of the example is divided out."""
    sizes = [size.node.hint if isinstance(size, torch.SymInt) else size for size in node.meta["val"].shape]
    first: fx.Node = next(n for n in node.graph.nodes if n.op == "placeholder")
    batch = first.meta["val"].shape[0]
    total = 1
    for size in sizes:
        total *= int(size)
    return total // int(batch.node.hint if isinstance(batch, torch.SymInt) else batch)
