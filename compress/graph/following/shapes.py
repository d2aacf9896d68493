"""Rules for operations that move, join, cut or fold dimensions."""

from typing import Any

import numpy as np
from torch import fx

from ..channels import Edit, Layout, Slots
from ..graph import argument, operation, shape_of
from ..tracing.origin import named
from .follower import Follower, dims_of, rank_of, unfollowed
from .layers import align, use_parameter

# Operations whose first result, and the places that it was taken from, have the channels of their input.
_WITH_PLACES = frozenset("max min adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d".split())
_TAKEN_APART = frozenset({"split", "split_with_sizes", "chunk", "unbind"})
_NORMS = frozenset({"norm", "linalg_vector_norm"})  # their second argument is the exponent


def cat(follower: Follower, node: fx.Node) -> Layout | None:
    """Along the channels their slots are concatenated; along another dimension the operands are joined.

    An operand may be a parameter, such as the token of a class.
    """
    sources: Any = argument(node, 0)
    dim = int(argument(node, 1, 0)) % rank_of(node)
    layouts = [follower.layout(source) for source in sources]
    followed = [layout for layout in layouts if layout is not None]
    if not followed:
        return None
    channel = followed[0][0]
    if any(layout[0] != channel for layout in followed):
        return unfollowed(follower, node)
    if channel != dim:
        slots = followed[0][1]
        for source, source_layout in zip(sources, layouts, strict=True):
            if source_layout is not None:
                follower.map.join(slots, source_layout[1])
            elif not use_parameter(follower, source, channel, slots):
                return unfollowed(follower, node)
        return followed[0]
    parts = []
    for source, source_layout in zip(sources, layouts, strict=True):
        if source_layout is not None:
            parts.append(source_layout[1])
            continue
        fresh = follower.map.new(shape_of(source)[dim])
        follower.map.pin(fresh, f"it is concatenated in {named(node)} with what stays whole")
        parts.append(fresh)
    return dim, np.concatenate(parts)


def pad(follower: Follower, node: fx.Node) -> Layout | None:
    """Padded channels are constant: they have slots (a sum may join them) but no parameters."""
    layout = follower.layout(argument(node, 0))
    amounts: Any = argument(node, 1)
    if layout is None:
        return None
    offset = 2 * (rank_of(node) - 1 - layout[0])
    if offset >= len(amounts) or amounts[offset] == amounts[offset + 1] == 0:
        return layout
    front, back = int(amounts[offset]), int(amounts[offset + 1])
    if min(front, back) < 0 or argument(node, 2, "constant") not in ("constant", 0, 0.0, None):
        return unfollowed(follower, node)
    slots = np.concatenate([follower.map.new(front), layout[1], follower.map.new(back)])
    follower.map.edits.append(
        Edit(node.name, "pad", layout[0], (slots[:front], slots[front + len(layout[1]) :]))
    )
    return layout[0], slots


def slice_(follower: Follower, node: fx.Node) -> Layout | None:
    """A part of the channels, or all of them from a part of another dimension."""
    layout = follower.layout(argument(node, 0))
    dim = int(argument(node, 1, 0))
    if layout is None or dim % rank_of(node) != layout[0]:
        return layout
    whole = len(layout[1])
    start, end = argument(node, 2) or 0, argument(node, 3)
    end = whole if end is None else end
    start, end = _clipped(start, whole), _clipped(end, whole)
    if start == 0 and end == whole and argument(node, 4, 1) == 1:
        return layout
    if argument(node, 4, 1) != 1:
        return unfollowed(follower, node)
    follower.map.edits.append(Edit(node.name, "slice", layout[0], (layout[1][:start], layout[1][start:end])))
    return layout[0], layout[1][start:end]


def _clipped(position: int, size: int) -> int:
    """A position as Python counts it (negative: from the end), within 0..size."""
    return min(max(position + size if position < 0 else position, 0), size)


def split(follower: Follower, node: fx.Node) -> Layout | None:
    """Equal parts along the channels are joined, so that they stay equal; sizes that are named may differ."""
    source = argument(node, 0)
    layout = follower.layout(source)
    if layout is None or argument(node, 2, 0) % rank_of(source) != layout[0]:
        return layout
    parts = _parts(node, layout)
    named_sizes = isinstance(argument(node, 1), (list, tuple))
    if len({len(part) for part in parts}) == 1:
        for part in parts[1:]:
            follower.map.join(parts[0], part)
    elif not named_sizes:
        return unfollowed(follower, node)
    if operation(node) != "chunk":
        edited = tuple(parts) if named_sizes else (parts[0],)
        follower.map.edits.append(Edit(node.name, "split", layout[0], edited))
    return layout


def _parts(node: fx.Node, layout: Layout) -> list[Slots]:
    """The slots of each part of a tensor that is split along its channels."""
    sizes = [int(part.shape[layout[0]]) for part in node.meta["val"]]
    return np.split(layout[1], np.cumsum(sizes)[:-1])


def getitem(follower: Follower, node: fx.Node) -> Layout | None:
    """One part of a split or unbound tensor."""
    source, index = argument(node, 0), argument(node, 1)
    layout = follower.layout(source)
    if layout is None or not isinstance(source, fx.Node):
        return unfollowed(follower, node)
    if operation(source) == "unbind" or operation(source) in _WITH_PLACES:
        return layout
    if operation(source) not in _TAKEN_APART:
        return unfollowed(follower, node)
    if argument(source, 2, 0) % len(source.meta["val"][0].shape) != layout[0]:
        return layout
    assert isinstance(index, int)
    return layout[0], _parts(source, layout)[index]


def reduce(follower: Follower, node: fx.Node) -> Layout | None:
    """Means, sums and maxima: the channels stay unless they are reduced themselves."""
    source, layout = argument(node, 0), follower.layout(argument(node, 0))
    if layout is None:
        return None
    first = 2 if operation(node) in _NORMS else 1
    dims = dims_of(argument(node, first) or range(rank_of(source)), rank_of(source))
    if layout[0] in dims:
        follower.map.pin(layout[1], f"{named(node)} works over all of these channels")
        return None
    if argument(node, first + 1, node.kwargs.get("keepdim", False)):  # they stay, with size 1
        return layout
    return layout[0] - sum(dim < layout[0] for dim in dims), layout[1]


def stack(follower: Follower, node: fx.Node) -> Layout | None:
    """The operands' channels are joined; the new dimension may push them one further."""
    sources: Any = argument(node, 0)
    layouts = [follower.layout(source) for source in sources]
    first = layouts[0]
    if first is None:
        return unfollowed(follower, node)
    for layout in layouts:
        if layout is None or layout[0] != first[0]:
            return unfollowed(follower, node)
        follower.map.join(first[1], layout[1])
    added = int(argument(node, 1, 0)) % rank_of(node)
    return first[0] + (added <= first[0]), first[1]


def expand(follower: Follower, node: fx.Node) -> Layout | None:
    """Copies along other dimensions; new ones may come in front."""
    layout = follower.layout(argument(node, 0))
    if layout is None:
        return None
    dim = layout[0] + rank_of(node) - rank_of(argument(node, 0))
    if shape_of(node)[dim] != len(layout[1]):
        return unfollowed(follower, node)
    follower.map.edits.append(Edit(node.name, "view", dim, (layout[1],)))
    return dim, layout[1]


def expand_as(follower: Follower, node: fx.Node) -> Layout | None:
    """Copies along other dimensions, up to the shape of another tensor, which has the same channels."""
    layout = expand(follower, node)
    if layout is not None:
        align(follower, node, argument(node, 1), layout)
    return layout


def repeat_interleave(follower: Follower, node: fx.Node) -> Layout | None:
    """Each channel becomes several neighbours, as a key of grouped queries; or there are copies elsewhere."""
    layout, copies = follower.layout(argument(node, 0)), argument(node, 1)
    dim = argument(node, 2, node.kwargs.get("dim"))
    if layout is None or not isinstance(copies, int) or dim is None:
        return unfollowed(follower, node)
    if int(dim) % rank_of(node) != layout[0]:
        return layout
    repeated = layout[1].repeat(copies)
    follower.map.edits.append(Edit(node.name, "repeat", layout[0], (repeated,)))
    return layout[0], repeated


def pixel_shuffle(follower: Follower, node: fx.Node) -> Layout | None:
    """The r² channels that become one image are one unit."""
    layout, factor = follower.layout(argument(node, 0)), int(argument(node, 1))
    if layout is None or layout[0] != rank_of(node) - 3:
        return unfollowed(follower, node)
    rows = layout[1].reshape(-1, factor * factor)
    for column in rows.T[1:]:
        follower.map.join(rows[:, 0], column)
    follower.map.edits.append(Edit(node.name, "repeat", layout[0], (rows[:, 0],)))
    return layout[0], rows[:, 0]


def table_rows(follower: Follower, node: fx.Node) -> Layout | None:
    """Entries of a table of parameters, such as biases of positions: its other dimension has new channels."""
    table, places = argument(node, 0), argument(node, 1)
    indexed = [place for place in places if place is not None]
    if table.op != "get_attr" or rank_of(table) != 2 or len(indexed) != 1 or follower.layout(indexed[0]):
        return unfollowed(follower, node)
    channel = 0 if places[0] is None else 1
    made = follower.map.new(shape_of(table)[channel])
    follower.map.use(str(table.target), channel, made, writes=True)
    return channel * (rank_of(node) - 1), made


def squeeze(follower: Follower, node: fx.Node) -> Layout | None:
    """Dimensions of size 1 before the channels disappear."""
    layout = follower.layout(argument(node, 0))
    if layout is None:
        return None
    rank = rank_of(argument(node, 0))
    if len(node.args) > 1:
        dims = dims_of(argument(node, 1), rank)
    else:
        dims = [dim for dim, size in enumerate(shape_of(argument(node, 0))) if size == 1]
    if layout[0] in dims:
        return unfollowed(follower, node)
    return layout[0] - sum(dim < layout[0] for dim in dims), layout[1]


def unsqueeze(follower: Follower, node: fx.Node) -> Layout | None:
    """A new dimension may push the channels one further."""
    layout = follower.layout(argument(node, 0))
    if layout is None:
        return None
    added = int(argument(node, 1)) % rank_of(node)
    return layout[0] + (added <= layout[0]), layout[1]


def read_type(follower: Follower, node: fx.Node) -> Layout | None:
    """A new tensor of the same type: nothing else of the one that is given matters."""
    return None


def read_size(follower: Follower, node: fx.Node) -> Layout | None:
    """The number of channels must not change once the model reads it; other sizes do not matter."""
    layout = follower.layout(argument(node, 0))
    if layout is not None and argument(node, 1) == layout[0]:
        follower.map.pin(layout[1], "the model reads the number of these channels")
    return None
