"""Rules for layers and elementwise operations."""

import math
from typing import Any

import torch
from torch import fx

from ..channels import Edit, Layout, Slots
from ..graph import argument, get_tensor, operation, shape_of, weight_matrices
from ..tracing.origin import named
from .follower import Follower, rank_of, unfollowed

_VIEWS = frozenset("unsqueeze view reshape slice alias detach clone contiguous to".split())


def same(follower: Follower, node: fx.Node) -> Layout | None:
    """Elementwise operations keep the channels where they are."""
    return follower.layout(argument(node, 0))


def spatial(follower: Follower, node: fx.Node) -> Layout | None:
    """Pooling and convolutions have their channels in dimension 1; channels elsewhere are pinned."""
    layout = follower.layout(argument(node, 0))
    if layout is not None and layout[0] != 1:
        follower.map.pin(layout[1], f"{named(node)} works across these channels")
        return None
    return layout


def convolution(follower: Follower, node: fx.Node) -> Layout | None:
    """New channels; each input channel is a column of the weight."""
    weight_node = argument(node, 1)
    if not (isinstance(weight_node, fx.Node) and weight_node.op == "get_attr"):
        return unfollowed(follower, node)
    weight, groups = str(weight_node.target), int(argument(node, 6, 1))
    out = get_tensor(follower.module, weight).shape[0]
    into = spatial(follower, node)
    made = follower.map.new(out)
    if groups > 1:
        _couple_convolution_groups(follower, node, into, made)
    elif into is not None:
        follower.map.use(weight, 1, into[1], writes=False)
    follower.map.use(weight, 0, made, writes=True)
    _use_bias(follower, node, made)
    return 1, made


def _couple_convolution_groups(follower: Follower, node: fx.Node, into: Layout | None, made: Slots) -> None:
    """All groups of a grouped convolution lose the same channels; a depthwise one loses whole groups."""
    weight, groups = str(node.all_input_nodes[1].target), int(argument(node, 6, 1))
    per_group = get_tensor(follower.module, weight).shape[1]
    if into is None:
        follower.map.pin(made, f"its groups read {_origin(argument(node, 0))}, which stays whole")
    elif per_group == 1:
        for copies in made.reshape(groups, -1).T:
            follower.map.join(into[1], copies)
        follower.map.edits.append(Edit(node.name, "groups", 1, (into[1],)))
    else:
        rows, outputs = into[1].reshape(groups, -1), made.reshape(groups, -1)
        for other_in, other_out in zip(rows[1:], outputs[1:], strict=True):
            follower.map.join(rows[0], other_in)
            follower.map.join(outputs[0], other_out)
        follower.map.use(weight, 1, rows[0], writes=False)


def linear(follower: Follower, node: fx.Node) -> Layout | None:
    """New channels in the last dimension."""
    source, weight_node = argument(node, 0), argument(node, 1)
    if not (isinstance(weight_node, fx.Node) and weight_node.op == "get_attr"):
        return unfollowed(follower, node)
    weight, into = str(weight_node.target), follower.layout(source)
    last = rank_of(source) - 1
    if into is not None and into[0] == last:
        follower.map.use(weight, 1, into[1], writes=False)
    elif into is not None:
        follower.map.pin(into[1], f"{named(node)} mixes another dimension than its channels")
    made = follower.map.new(get_tensor(follower.module, weight).shape[0])
    follower.map.use(weight, 0, made, writes=True)
    _use_bias(follower, node, made)
    return last, made


def _use_bias(follower: Follower, node: fx.Node, made: Slots) -> None:
    bias = argument(node, 2)
    if isinstance(bias, fx.Node) and bias.op == "get_attr":
        follower.map.use(str(bias.target), 0, made, writes=True)


def transposed_convolution(follower: Follower, node: fx.Node) -> Layout | None:
    """Like a convolution with the first two dimensions of its weight swapped; groups of one are followed."""
    weight_node = argument(node, 1)
    if weight_node.op != "get_attr" or int(argument(node, 6, 1)) > 1:
        return unfollowed(follower, node)
    weight, into = str(weight_node.target), spatial(follower, node)
    if into is not None:
        follower.map.use(weight, 0, into[1], writes=False)
    made = follower.map.new(get_tensor(follower.module, weight).shape[1])
    follower.map.use(weight, 1, made, writes=True)
    _use_bias(follower, node, made)
    return 1, made


def embedding(follower: Follower, node: fx.Node) -> Layout | None:
    """New channels in the last dimension: columns of the table."""
    table = argument(node, 0)
    if table.op != "get_attr":
        return unfollowed(follower, node)
    made = follower.map.new(get_tensor(follower.module, str(table.target)).shape[1])
    follower.map.use(str(table.target), 1, made, writes=True)
    return rank_of(node) - 1, made


def prelu(follower: Follower, node: fx.Node) -> Layout | None:
    """The same channels, each with its own slope, or one slope for all."""
    layout, slope = follower.layout(argument(node, 0)), argument(node, 1)
    if layout is None or shape_of(slope) in ([], [1]):
        return layout
    if layout[0] != min(1, rank_of(node) - 1) or slope.op != "get_attr":
        return unfollowed(follower, node)
    follower.map.use(str(slope.target), 0, layout[1], writes=False)
    return layout


def normalized(follower: Follower, node: fx.Node) -> Layout | None:
    """Statistics over the channels would change with every removed channel: all are pinned."""
    follower.pin_inputs(node, f"{named(node)} takes statistics over these channels")
    return follower.layout(argument(node, 0))


def recurrent(follower: Follower, node: fx.Node) -> Layout | None:
    """The state of GRU, LSTM and RNN stays whole, since each channel affects all others at the next step.

    Channels that enter are columns of the first layer's matrices.
    """
    inputs, layout = _input_matrices(node), follower.layout(argument(node, 0))
    if layout is not None and layout[0] == rank_of(argument(node, 0)) - 1 and inputs:
        for weight in inputs:
            follower.map.use(str(weight.target), 1, layout[1], writes=False)
    else:
        follower.pin_inputs(node, f"its channels enter {named(node)}, which stays whole")
    for weight in weight_matrices(node):
        rows = follower.map.new(shape_of(weight)[0])
        follower.map.pin(rows, f"the state of {named(node)} stays whole")
        follower.map.use(str(weight.target), 0, rows, writes=True)
    return None


def _input_matrices(node: fx.Node) -> list[fx.Node]:
    """The matrices that multiply the input: one of each direction of the first layer."""
    parameters: Any = argument(node, 2)
    is_packed = not isinstance(argument(node, 3), bool)
    if is_packed or any(weight.op != "get_attr" for weight in parameters):
        return []
    directions = 2 if argument(node, 7, False) else 1
    step = len(parameters) // (int(argument(node, 4)) * directions)
    return [parameters[step * direction] for direction in range(directions)]


def batch_norm(follower: Follower, node: fx.Node) -> Layout | None:
    """The same channels, each with four parameters."""
    layout = spatial(follower, node)
    if layout is not None:
        for parameter in node.args[1:5]:
            if isinstance(parameter, fx.Node):
                follower.map.use(str(parameter.target), 0, layout[1], writes=True)
    return layout


def binary(follower: Follower, node: fx.Node) -> Layout | None:
    """Aligned channels are joined; a constant or a tensor of size 1 along the channels is broadcast."""
    rank = rank_of(node)
    operands = [
        value
        for value in node.args
        if isinstance(value, fx.Node) and "val" in value.meta and _is_tensor(value)
    ]
    aligned: list[Layout] = []
    for operand in operands:
        layout = follower.layout(operand)
        if layout is not None:
            aligned.append((layout[0] + rank - rank_of(operand), layout[1]))
    if not aligned:
        return None
    slots: Slots
    dim, slots = max(aligned, key=lambda layout: len(layout[1]))
    for operand in operands:
        align(follower, node, operand, (dim, slots))
    return dim, slots


def _is_tensor(value: fx.Node) -> bool:
    return isinstance(value.meta["val"], torch.Tensor)


def align(follower: Follower, node: fx.Node, operand: fx.Node, onto: Layout) -> None:
    """Joins the channels of an operand that is broadcast to the node's tensor, or pins what does not fit."""
    dim, slots = onto
    layout, operand_dim = follower.layout(operand), dim - (rank_of(node) - rank_of(operand))
    size = shape_of(operand)[operand_dim] if operand_dim >= 0 else 1
    if layout is not None and layout[0] == operand_dim and size == len(slots):
        follower.map.join(slots, layout[1])
        return
    fits = layout is None and operand_dim >= 0 and size == len(slots)
    if fits and use_parameter(follower, operand, operand_dim, slots):
        return
    if size != 1 or layout is not None:
        others = f"those of {_origin(operand)}, which stay whole,"
        if layout is not None:
            others = "other ones" if layout[0] == operand_dim else "those along another dimension"
        reason = f"its channels meet {others} in {named(node)}"
        follower.map.pin(slots, reason)
        if layout is not None:
            follower.map.pin(layout[1], reason)


def _origin(operand: fx.Node) -> str:
    return "the model's input" if operand.op == "placeholder" else operation(operand)


def use_parameter(follower: Follower, operand: fx.Node, dim: int, slots: Slots) -> bool:
    """Whether the operand is a parameter, or a vector seen with dimensions of size 1: then it is used."""
    while operation(operand) == "expand":
        source = argument(operand, 0)
        dim_there = dim + rank_of(source) - rank_of(operand)
        if dim_there < 0 or shape_of(source)[dim_there] != len(slots):
            return False
        follower.map.edits.append(Edit(operand.name, "view", dim, (slots,)))
        operand, dim = source, dim_there
    if operand.op == "get_attr":
        follower.map.use(str(operand.target), dim, slots, writes=True)
        return True
    views, node = [], operand
    while operation(node) in _VIEWS and math.prod(shape_of(node)) == len(slots):
        if operation(node) in ("view", "reshape"):
            views.append(node)
        node = argument(node, 0)
    if node.op != "get_attr" or shape_of(node).count(1) < rank_of(node) - 1:
        return False
    for view in views:
        at = shape_of(view).index(len(slots))
        follower.map.edits.append(Edit(view.name, "view", at, (slots,)))
    follower.map.use(str(node.target), shape_of(node).index(len(slots)), slots, writes=True)
    return True
