"""Layers: the weights that a traced model multiplies with, and which of them can be quantized."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from torch import fx

from ..recipe import STORED, Precision
from .graph import (
    LAYERS,
    RECURRENT,
    TRANSPOSED,
    argument,
    get_tensor,
    layer_name,
    operation,
    shape_of,
    table_nodes,
    varying_nodes,
    weight_nodes,
)
from .tracing.origin import named

LayerKind = Literal["conv", "linear", "transposed", "recurrent", "embedding"]
_FLOAT_ONLY = {
    "transposed": "a transposed convolution computes in float32: ONNX Runtime has no int8 kernel for it",
    "recurrent": "a recurrent layer computes in float32: ONNX Runtime has no kernel for static int8 there",
}
_CONSTANT = "it stays float32: what it reads does not depend on the model's inputs"
_ATTENTION = "scaled_dot_product_attention"
_PRODUCTS = frozenset({"matmul", "bmm"})
_TIED = "it computes in float32: its weight is also the table of an embedding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer with a weight. `macs` are of one sample; `uses` counts its calls (a shared module has several).

    Each matrix of a GRU or LSTM is a layer, and so is the table of an embedding (rows × columns; its outputs
    are the columns), unless it is also the weight of another layer. `float_only` says why a layer computes in
    float32, and is empty if it can do otherwise; `unstorable` why its weight cannot be stored in fewer bits
    either. `elements_in` counts the elements that all calls read of one sample (of an embedding: rows).
    """

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
    float_only: str = ""
    unstorable: str = ""
    elements_in: int = 0

    def refusal(self, precision: Precision) -> str:
        """Why the layer cannot have the precision; empty if it can."""
        return self.unstorable if precision in STORED else self.float_only

    @property
    def out_dim(self) -> int:
        """Which dimension of the weight has the output channels."""
        return 1 if self.kind in ("transposed", "embedding") else 0

    @property
    def weight_numel(self) -> int:
        """Elements of the weight alone."""
        return math.prod(self.weight_shape)


def layers_of(module: fx.GraphModule) -> tuple[Layer, ...]:
    """The layers of a traced model in order of execution."""
    layers: dict[str, Layer] = {}
    tables = {argument(node, 0).target for node in module.graph.nodes if operation(node) == "embedding"}
    varying = varying_nodes(module)
    multiplied = {weight.target for node in module.graph.nodes for weight in weight_nodes(node)}
    for node in module.graph.nodes:
        tables_alone = [table for table in table_nodes(node) if table.target not in multiplied]
        if tables_alone and argument(node, 1) in varying:
            layer = _embedding(module, node, str(tables_alone[0].target))
            layers[layer.name] = _joined(layers.get(layer.name), layer)
        for weight in weight_nodes(node):
            layer = _layer(module, node, str(weight.target))
            if argument(node, 0) not in varying:
                layer = replace(layer, float_only=_CONSTANT, unstorable=_CONSTANT)
            if weight.target in tables:
                layer = replace(layer, float_only=_TIED)
            layers[layer.name] = _joined(layers.get(layer.name), layer)
    return tuple(layers.values())


def _joined(before: Layer | None, call: Layer) -> Layer:
    """The layer with one more call."""
    if before is None:
        return call
    return replace(
        before,
        macs=before.macs + call.macs,
        uses=before.uses + 1,
        elements_in=before.elements_in + call.elements_in,
        float_only=before.float_only or call.float_only,
        unstorable=before.unstorable or call.unstorable,
    )


def _layer(module: fx.GraphModule, node: fx.Node, weight: str) -> Layer:
    """One call of a layer."""
    shape, kind = tuple(get_tensor(module, weight).shape), _kind(node)
    bias = None if kind == "recurrent" else argument(node, 2)
    groups = int(argument(node, 6, 1)) if kind in ("conv", "transposed") else 1
    inside, outside = (shape[0], shape[1] * groups) if kind == "transposed" else (shape[1] * groups, shape[0])
    return Layer(
        name=layer_name(weight),
        kind=kind,
        weight=weight,
        bias=None if bias is None else str(bias.target),
        weight_shape=shape,
        channels_in=inside,
        channels_out=outside,
        macs=_rows(node, kind, shape) * (math.prod(shape) // shape[0]),
        parameters=math.prod(shape) + (0 if bias is None else outside),
        uses=1,
        float_only=_FLOAT_ONLY.get(kind, ""),
        elements_in=_per_sample(node, math.prod(shape_of(argument(node, 0)))),
    )


def _embedding(module: fx.GraphModule, node: fx.Node, table: str) -> Layer:
    """One call of an embedding: it copies rows."""
    rows, columns = get_tensor(module, table).shape
    return Layer(
        name=layer_name(table),
        kind="embedding",
        weight=table,
        bias=None,
        weight_shape=(rows, columns),
        channels_in=rows,
        channels_out=columns,
        macs=0,
        parameters=rows * columns,
        uses=1,
        float_only=f"it stays float32: it is a table from which {named(node)} takes rows",
        elements_in=_per_sample(node, math.prod(shape_of(argument(node, 1)))),
    )


def _kind(node: fx.Node) -> LayerKind:
    name = operation(node)
    if name in RECURRENT:
        return "recurrent"
    if name in TRANSPOSED:
        return "transposed"
    return "linear" if name == "linear" else "conv"


def _rows(node: fx.Node, kind: LayerKind, shape: tuple[int, ...]) -> int:
    """How many products with a row of the weight (its first dimension) one sample takes.

    That is the number of elements of the output; of the input for a transposed convolution; time steps × rows
    for a recurrent layer.
    """
    source = argument(node, 0)
    if kind == "recurrent":
        sizes = shape_of(source)
        return _per_sample(node, math.prod(sizes[:-1])) * shape[0]
    counted = source if kind == "transposed" else node
    return _per_sample(node, math.prod(shape_of(counted)))


def _per_sample(node: fx.Node, total: int) -> int:
    """The total divided by the batch size of the example."""
    return total // shape_of(next(n for n in node.graph.nodes if n.op == "placeholder"))[0]


def attention_readers(module: fx.GraphModule) -> tuple[str, ...]:
    """By attention, in order of execution, the layer that reads what it mixes (its output projection)."""
    found = (_next_layer(node) for node in module.graph.nodes if _mixes(node))
    return tuple(dict.fromkeys(name for name in found if name is not None))


def has_fusable(module: fx.GraphModule) -> bool:
    """Whether there may be attention or a root mean square normalization."""
    operations = {operation(node) for node in module.graph.nodes}
    return bool({"rsqrt", "rms_norm"} & operations) or any(_mixes(node) for node in module.graph.nodes)


def _mixes(node: fx.Node) -> bool:
    """Whether the node is an attention, or the softmax of one."""
    if operation(node) == _ATTENTION:
        return True
    readers = (operation(user) for user in node.users)
    return operation(node) in ("softmax", "_softmax") and any(name in _PRODUCTS for name in readers)


def _next_layer(node: fx.Node) -> str | None:
    """The first layer behind a node."""
    return next((_name(one) for one in _behind(node) if operation(one) in LAYERS), None)


def _name(layer: fx.Node) -> str | None:
    weight = argument(layer, 1)
    return layer_name(str(weight.target)) if weight.op == "get_attr" else None


def _behind(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes that read it, and those that read them, the nearest first."""
    waiting, seen = [*node.users], set[fx.Node]()
    while waiting:
        current = waiting.pop(0)
        if current not in seen:
            seen.add(current)
            yield current
            waiting += current.users
