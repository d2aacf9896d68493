"""Templates of other structures: the exported original without blocks, or with factored layers.

Each set of removed blocks is another structure, too many for an exporter that takes seconds. In ONNX both
edits are simple and take milliseconds: readers of a removed sum read its shortcut instead, and a factored
layer gets a second node of its kind in front.
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import helper
from torch import fx

from ..graph.blocks import Block, remove_blocks
from ..graph.factors import factor_name, split_layer
from ..graph.graph import clone, get_tensor, layer_nodes
from .export import Template
from .locate import Stored
from .writer import attribute_of, initializers_of, keep_initializers

_POINTWISE = frozenset({"Conv", "Gemm", "MatMul"})
_MOVED = frozenset({"strides", "pads", "auto_pad"})  # attributes that only the first of two factors has


def restructure(
    folded: fx.GraphModule, blocks: Iterable[Block], factored: Iterable[str]
) -> tuple[fx.GraphModule, dict[str, str]]:
    """A copy of the folded original without `blocks`, with two nodes for each factored layer.

    Weights of factored layers are placeholders. Also returns by replaced node the one that takes its place.
    """
    structure = clone(folded)
    replaced = remove_blocks(structure, blocks)
    for name in factored:
        weight = get_tensor(structure, f"{name}.weight").detach().flatten(1)
        rank = max(1, min(weight.shape) // 4)
        split_layer(structure, name, weight[:, :rank], weight[:rank])
    return structure, replaced


def edit_structure(
    template: Template, structure: fx.GraphModule, replaced: Mapping[str, str], factored: Sequence[str]
) -> Template | None:
    """The original's template with the structure that `restructure` made; None if its ONNX form does not
    allow it.
    """
    model = onnx.ModelProto()
    model.CopyFrom(template.model)
    parameters, values = dict(template.parameters), dict(template.values)
    layers = dict(layer_nodes(structure))
    if not _reroute(model, values, replaced):
        return None
    for name in factored:
        stored = parameters.get(f"{name}.weight")
        if stored is None or not _put_factor(model, stored, name):
            return None
        first = factor_name(name)
        parameters[f"{first}.weight"] = Stored(initializer=f"{first}.weight", transposed=stored.transposed)
        values[layers[first].name] = first
    _drop_unread(model)
    initializers, state = initializers_of(model), structure.state_dict()
    nodes = {node.name for node in structure.graph.nodes}
    return Template(
        model=model,
        parameters={
            name: stored
            for name, stored in parameters.items()
            if name in state and stored.initializer in initializers
        },
        values={node: value for node, value in values.items() if node in nodes},
        baked={name: digest for name, digest in template.baked.items() if name in state},
    )


def _reroute(model: onnx.ModelProto, values: Mapping[str, str], replaced: Mapping[str, str]) -> bool:
    """Makes readers of a replaced value read the other one. False if a value is unknown or the model's
    output.
    """
    outputs = {value.name for value in model.graph.output}
    for old, new in replaced.items():
        if old not in values or new not in values or values[old] in outputs:
            return False
        for node in model.graph.node:
            for position, name in enumerate(node.input):
                if name == values[old]:
                    node.input[position] = values[new]
    return True


def _put_factor(model: onnx.ModelProto, stored: Stored, layer: str) -> bool:
    """Puts a second node of the layer's kind in front. False if the exporter changed the layer's form."""
    readers = [index for index, node in enumerate(model.graph.node) if stored.initializer in node.input]
    if len(readers) != 1:
        return False
    node = model.graph.node[readers[0]]
    scaled = attribute_of(node, "alpha", 1.0) != 1.0 or attribute_of(node, "transA", 0) != 0
    if node.op_type not in _POINTWISE or list(node.input).index(stored.initializer) != 1 or scaled:
        return False
    name = factor_name(layer)
    first = helper.make_node(node.op_type, [node.input[0], f"{name}.weight"], [name])
    first.attribute.extend(node.attribute)
    model.graph.initializer.append(onnx.TensorProto(name=f"{name}.weight", data_type=onnx.TensorProto.FLOAT))
    node.input[0] = name
    remaining = [attribute for attribute in node.attribute if attribute.name not in _MOVED]
    del node.attribute[:]
    node.attribute.extend(remaining)
    model.graph.node.insert(readers[0], first)
    return True


def _drop_unread(model: onnx.ModelProto) -> None:
    """Removes nodes and initializers that no output needs; the nodes must be in order of execution."""
    graph, needed = model.graph, {value.name for value in model.graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    keep_initializers(model, needed)
