"""Templates of other structures: the exported original without removed blocks, and with factored layers, in
milliseconds.

Every set of removed blocks is a structure of its own, and there are more of them than an exporter that takes
seconds could follow. Both edits are simple in ONNX: what reads a removed sum reads its shortcut instead, and
a factored layer gets a node of its own kind in front of it.
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import helper
from torch import fx

from ..graph.blocks import Block, remove_blocks
from ..graph.factors import factor_name, split_layer
from ..graph.graph import clone, get_tensor, layer_nodes
from .export import Stored, Template

_POINTWISE = frozenset({"Conv", "Gemm", "MatMul"})
_MOVED = frozenset({"strides", "pads", "auto_pad"})  # attributes that only the first of two factors has


def restructure(
    folded: fx.GraphModule, blocks: Iterable[Block], factored: Iterable[str]
) -> tuple[fx.GraphModule, dict[str, str]]:
    """A copy of the folded original without `blocks` and with two nodes for each factored layer (weights are
    placeholders).

    The second item tells which node stands for each replaced one.
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
    """The original's template with the structure that `restructure` made; None where its ONNX form has no
    such places.
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
        parameters[f"{factor_name(name)}.weight"] = Stored(
            initializer=f"{factor_name(name)}.weight", transposed=stored.transposed
        )
        values[layers[factor_name(name)].name] = factor_name(name)
    _drop_unread(model)
    held, left = {tensor.name for tensor in model.graph.initializer}, structure.state_dict().keys()
    nodes = {node.name for node in structure.graph.nodes}
    return Template(
        model=model,
        parameters={
            name: stored for name, stored in parameters.items() if name in left and stored.initializer in held
        },
        values={node: value for node, value in values.items() if node in nodes},
    )


def _reroute(model: onnx.ModelProto, values: Mapping[str, str], replaced: Mapping[str, str]) -> bool:
    """What reads a replaced value reads the other one. False when a value is unknown or is the model's
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
    """A second node of the layer's kind in front of it. False when the exporter made something else of the
    layer.
    """
    readers = [index for index, node in enumerate(model.graph.node) if stored.initializer in node.input]
    if len(readers) != 1:
        return False
    node = model.graph.node[readers[0]]
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    scaled = attributes.get("alpha", 1.0) != 1.0 or attributes.get("transA", 0) != 0
    if node.op_type not in _POINTWISE or list(node.input).index(stored.initializer) != 1 or scaled:
        return False
    name = factor_name(layer)
    first = helper.make_node(node.op_type, [node.input[0], f"{name}.weight"], [name])
    first.attribute.extend(node.attribute)
    model.graph.initializer.append(onnx.TensorProto(name=f"{name}.weight", data_type=onnx.TensorProto.FLOAT))
    node.input[0] = name
    kept = [item for item in node.attribute if item.name not in _MOVED]
    del node.attribute[:]
    node.attribute.extend(kept)
    model.graph.node.insert(readers[0], first)
    return True


def _drop_unread(model: onnx.ModelProto) -> None:
    """Removes nodes and initializers that no output needs; nodes stand in the order of execution."""
    graph, needed = model.graph, {value.name for value in model.graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(initializers)
