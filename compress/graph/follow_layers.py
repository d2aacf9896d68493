"""How layers and elementwise operations treat channels."""

import torch
from torch import fx

from .channels import Edit, Layout, Slots
from .follow_reader import Reader, rank_of, shape_of, unfollowed
from .graph import argument, get_tensor, operation, weight_matrices


def same(reader: Reader, node: fx.Node) -> Layout | None:
    """Elementwise operations keep the channels where they are."""
    return reader.layout(argument(node, 0))


def spatial(reader: Reader, node: fx.Node) -> Layout | None:
    """Operations that know dimension 1 as their channels (pooling, convolutions) cannot follow others: these
    are pinned.
    """
    layout = reader.layout(argument(node, 0))
    if layout is not None and layout[0] != 1:
        reader.map.pin(layout[1], f"{operation(node)} works across these channels")
        return None
    return layout


def convolution(reader: Reader, node: fx.Node) -> Layout | None:
    """New channels; each input channel is a column of the weight."""
    weight_node = argument(node, 1)
    if not (isinstance(weight_node, fx.Node) and weight_node.op == "get_attr"):
        return unfollowed(reader, node)
    weight, groups = str(weight_node.target), int(argument(node, 6, 1))
    out = get_tensor(reader.module, weight).shape[0]
    into = spatial(reader, node)
    made = reader.map.new(out)
    if groups > 1:
        _couple_convolution_groups(reader, node, into, made)
    elif into is not None:
        reader.map.use(weight, 1, into[1], writes=False)
    reader.map.use(weight, 0, made, writes=True)
    _use_bias(reader, node, made)
    return 1, made


def _couple_convolution_groups(reader: Reader, node: fx.Node, into: Layout | None, made: Slots) -> None:
    """Every group of a grouped convolution must lose the same channels; a depthwise one loses whole groups."""
    weight, groups = str(node.all_input_nodes[1].target), int(argument(node, 6, 1))
    per_group = get_tensor(reader.module, weight).shape[1]
    if into is None:
        reader.map.pin(made, "its groups read the model's input")
    elif per_group == 1:
        for copies in made.reshape(groups, -1).T:
            reader.map.join(into[1], copies)
        reader.map.edits.append(Edit(node.name, "groups", 1, (into[1],)))
    else:
        rows, outputs = into[1].reshape(groups, -1), made.reshape(groups, -1)
        for other_in, other_out in zip(rows[1:], outputs[1:], strict=True):
            reader.map.join(rows[0], other_in)
            reader.map.join(outputs[0], other_out)
        reader.map.use(weight, 1, rows[0], writes=False)


def linear(reader: Reader, node: fx.Node) -> Layout | None:
    """New channels in the last dimension."""
    source, weight_node = argument(node, 0), argument(node, 1)
    if not (isinstance(weight_node, fx.Node) and weight_node.op == "get_attr"):
        return unfollowed(reader, node)
    weight, into = str(weight_node.target), reader.layout(source)
    last = rank_of(source) - 1
    if into is not None and into[0] == last:
        reader.map.use(weight, 1, into[1], writes=False)
    elif into is not None:
        reader.map.pin(into[1], "a linear layer mixes another dimension than its channels")
    made = reader.map.new(get_tensor(reader.module, weight).shape[0])
    reader.map.use(weight, 0, made, writes=True)
    _use_bias(reader, node, made)
    return last, made


def _use_bias(reader: Reader, node: fx.Node, made: Slots) -> None:
    bias = argument(node, 2)
    if isinstance(bias, fx.Node) and bias.op == "get_attr":
        reader.map.use(str(bias.target), 0, made, writes=True)


def transposed_convolution(reader: Reader, node: fx.Node) -> Layout | None:
    """Like a convolution with the first two dimensions of its weight swapped; groups of one are followed."""
    weight_node = argument(node, 1)
    if weight_node.op != "get_attr" or int(argument(node, 6, 1)) > 1:
        return unfollowed(reader, node)
    weight, into = str(weight_node.target), spatial(reader, node)
    if into is not None:
        reader.map.use(weight, 0, into[1], writes=False)
    made = reader.map.new(get_tensor(reader.module, weight).shape[1])
    reader.map.use(weight, 1, made, writes=True)
    _use_bias(reader, node, made)
    return 1, made


def embedding(reader: Reader, node: fx.Node) -> Layout | None:
    """New channels in the last dimension: columns of the table."""
    table = argument(node, 0)
    if table.op != "get_attr":
        return unfollowed(reader, node)
    made = reader.map.new(get_tensor(reader.module, str(table.target)).shape[1])
    reader.map.use(str(table.target), 1, made, writes=True)
    return rank_of(node) - 1, made


def prelu(reader: Reader, node: fx.Node) -> Layout | None:
    """The same channels, each with a slope of its own unless one serves all."""
    layout, slope = reader.layout(argument(node, 0)), argument(node, 1)
    if layout is None or shape_of(slope) in ([], [1]):
        return layout
    if layout[0] != min(1, rank_of(node) - 1) or slope.op != "get_attr":
        return unfollowed(reader, node)
    reader.map.use(str(slope.target), 0, layout[1], writes=False)
    return layout


def normalized(reader: Reader, node: fx.Node) -> Layout | None:
    """Statistics over the channels change with every channel that goes, so that none may."""
    reader.pin_inputs(node, f"{operation(node)} takes statistics over these channels")
    return None


def recurrent(reader: Reader, node: fx.Node) -> Layout | None:
    """GRU, LSTM and RNN stay whole: every channel of the state meets every other one at the next step."""
    reader.pin_inputs(node, f"its channels enter a recurrent layer ({operation(node)}), which stays whole")
    for weight in weight_matrices(node):
        rows = reader.map.new(shape_of(weight)[0])
        reader.map.pin(rows, f"a recurrent layer ({operation(node)}) stays whole")
        reader.map.use(str(weight.target), 0, rows, writes=True)
    return None


def batch_norm(reader: Reader, node: fx.Node) -> Layout | None:
    """The same channels, each with four parameters."""
    layout = spatial(reader, node)
    if layout is not None:
        for parameter in node.args[1:5]:
            if isinstance(parameter, fx.Node):
                reader.map.use(str(parameter.target), 0, layout[1], writes=True)
    return layout


def binary(reader: Reader, node: fx.Node) -> Layout | None:
    """Aligned channels are joined; a constant or a tensor of size 1 along the channels is broadcast."""
    rank = rank_of(node)
    operands = [
        value
        for value in node.args[:2]
        if isinstance(value, fx.Node) and "val" in value.meta and _is_tensor(value)
    ]
    aligned: list[Layout] = []
    for operand in operands:
        layout = reader.layout(operand)
        if layout is not None:
            aligned.append((layout[0] + rank - rank_of(operand), layout[1]))
    if not aligned:
        return None
    slots: Slots
    dim, slots = max(aligned, key=lambda layout: len(layout[1]))
    for operand in operands:
        _align(reader, node, operand, dim, slots)
    return dim, slots


def _is_tensor(value: fx.Node) -> bool:
    return isinstance(value.meta["val"], torch.Tensor)


def _align(reader: Reader, node: fx.Node, operand: fx.Node, dim: int, slots: Slots) -> None:
    layout, own = reader.layout(operand), dim - (rank_of(node) - rank_of(operand))
    size = shape_of(operand)[own] if own >= 0 else 1
    if layout is not None and layout[0] == own and size == len(slots):
        reader.map.join(slots, layout[1])
    elif operand.op == "get_attr" and size == len(slots):
        reader.map.use(str(operand.target), own, slots, writes=True)
    elif size != 1 or layout is not None:
        reason = f"its channels meet other ones in {operation(node)}"
        reader.map.pin(slots, reason)
        if layout is not None:
            reader.map.pin(layout[1], reason)
