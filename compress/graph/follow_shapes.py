"""How operations that move, join, cut or fold dimensions treat channels."""

from typing import Any

import numpy as np
from torch import fx

from .channels import Edit, Layout
from .follow_reader import Reader, dims_of, rank_of, shape_of, unfollowed
from .graph import argument, operation

_TAKEN_APART = frozenset({"split", "split_with_sizes", "chunk", "unbind"})


def cat(reader: Reader, node: fx.Node) -> Layout | None:
    """Concatenated channels stand behind one another; along another dimension the operands are joined."""
    sources: Any = argument(node, 0)
    dim = int(argument(node, 1, 0)) % rank_of(node)
    layouts = [reader.layout(source) for source in sources]
    known = [layout for layout in layouts if layout is not None]
    if not known:
        return None
    channel = known[0][0]
    if any(layout[0] != channel for layout in known) or (channel != dim and len(known) < len(layouts)):
        return unfollowed(reader, node)
    if channel != dim:
        for layout in known[1:]:
            reader.map.join(known[0][1], layout[1])
        return known[0]
    parts = []
    for source, followed in zip(sources, layouts, strict=True):
        fresh = followed[1] if followed is not None else reader.map.new(shape_of(source)[dim])
        if followed is None:
            reader.map.pin(fresh, "it is concatenated with the model's input")
        parts.append(fresh)
    return dim, np.concatenate(parts)


def pad(reader: Reader, node: fx.Node) -> Layout | None:
    """Padded channels are constant: they have slots (a sum may join them) but no parameters."""
    layout = reader.layout(argument(node, 0))
    amounts: Any = argument(node, 1)
    if layout is None:
        return None
    offset = 2 * (rank_of(node) - 1 - layout[0])
    if offset >= len(amounts) or amounts[offset] == amounts[offset + 1] == 0:
        return layout
    front, back = int(amounts[offset]), int(amounts[offset + 1])
    if min(front, back) < 0 or argument(node, 2, "constant") not in ("constant", 0, 0.0, None):
        return unfollowed(reader, node)
    slots = np.concatenate([reader.map.new(front), layout[1], reader.map.new(back)])
    reader.map.edits.append(
        Edit(node.name, "pad", layout[0], (slots[:front], slots[front + len(layout[1]) :]))
    )
    return layout[0], slots


def slice_(reader: Reader, node: fx.Node) -> Layout | None:
    """A part of the channels, or all of them from a part of another dimension."""
    layout = reader.layout(argument(node, 0))
    dim = int(argument(node, 1, 0))
    if layout is None or dim % rank_of(node) != layout[0]:
        return layout
    whole = len(layout[1])
    start, end = argument(node, 2) or 0, argument(node, 3)
    end = whole if end is None else end
    start, end = (min(max(p + whole if p < 0 else p, 0), whole) for p in (start, end))
    if start == 0 and end == whole and argument(node, 4, 1) == 1:
        return layout
    if argument(node, 4, 1) != 1:
        return unfollowed(reader, node)
    reader.map.edits.append(Edit(node.name, "slice", layout[0], (layout[1][:start], layout[1][start:end])))
    return layout[0], layout[1][start:end]


def split(reader: Reader, node: fx.Node) -> Layout | None:
    """Equal parts along the channels are coupled part by part, so that they stay equal; other splits pin."""
    source = argument(node, 0)
    layout = reader.layout(source)
    if layout is None or argument(node, 2, 0) % rank_of(source) != layout[0]:
        return layout
    sizes = [int(part.shape[layout[0]]) for part in node.meta["val"]]
    if len(set(sizes)) > 1:
        return unfollowed(reader, node)
    parts = layout[1].reshape(len(sizes), -1)
    for part in parts[1:]:
        reader.map.join(parts[0], part)
    if operation(node) != "chunk":
        reader.map.edits.append(Edit(node.name, "split", layout[0], (parts[0],)))
    return layout


def getitem(reader: Reader, node: fx.Node) -> Layout | None:
    """One part of a split or unbound tensor."""
    source, index = argument(node, 0), argument(node, 1)
    layout = reader.layout(source)
    if layout is None or not isinstance(source, fx.Node) or operation(source) not in _TAKEN_APART:
        return unfollowed(reader, node)
    if operation(source) == "unbind":
        return layout
    if argument(source, 2, 0) % len(source.meta["val"][0].shape) != layout[0]:
        return layout
    assert isinstance(index, int)
    return layout[0], layout[1].reshape(len(source.meta["val"]), -1)[index]


def mean(reader: Reader, node: fx.Node) -> Layout | None:
    """The channels stay unless they are averaged themselves."""
    source, layout = argument(node, 0), reader.layout(argument(node, 0))
    if layout is None:
        return None
    dims = dims_of(argument(node, 1) or range(rank_of(source)), rank_of(source))
    if layout[0] in dims:
        reader.map.pin(layout[1], "their mean is taken (an RMSNorm, for example)")
        return None
    kept = bool(argument(node, 2, False))
    return (layout[0] if kept else layout[0] - sum(dim < layout[0] for dim in dims)), layout[1]


def squeeze(reader: Reader, node: fx.Node) -> Layout | None:
    """Dimensions of size 1 before the channels disappear."""
    layout = reader.layout(argument(node, 0))
    if layout is None:
        return None
    rank = rank_of(argument(node, 0))
    dims = (
        dims_of(argument(node, 1), rank)
        if len(node.args) > 1
        else [d for d, size in enumerate(shape_of(argument(node, 0))) if size == 1]
    )
    if layout[0] in dims:
        return unfollowed(reader, node)
    return layout[0] - sum(dim < layout[0] for dim in dims), layout[1]


def unsqueeze(reader: Reader, node: fx.Node) -> Layout | None:
    """A new dimension may push the channels one further."""
    layout = reader.layout(argument(node, 0))
    if layout is None:
        return None
    added = int(argument(node, 1)) % rank_of(node)
    return layout[0] + (added <= layout[0]), layout[1]


def read_size(reader: Reader, node: fx.Node) -> Layout | None:
    """Sizes read from a tensor: along the channels they would be stale, along other dimensions they are
    harmless.
    """
    layout = reader.layout(argument(node, 0))
    if layout is not None and argument(node, 1) == layout[0]:
        reader.map.pin(layout[1], "the model reads the number of these channels")
    return None
