"""How attention treats channels: heads are what can be removed.

A projection of H·D channels is viewed as H × D. The D channels of a head are joined into one unit, which
leaves D (and with it rotary positions and the 1/√D of the softmax) whole; the products of queries, keys and
values join their heads. Flattened again, head i is D columns of the output projection. Without its head the
model answers as if these columns were zero.
"""

import math
from typing import Any

from torch import fx

from .channels import Edit, Layout, Slots
from .follow_reader import Reader, dims_of, rank_of, shape_of, unfollowed
from .graph import argument, operation

_INDEXING = {
    "unbind": 1,
    "select": 1,
    "chunk": 2,
    "split": 2,
    "split_with_sizes": 2,
}  # operation → position of its dimension


def view(reader: Reader, node: fx.Node) -> Layout | None:
    """Channels that are split in heads, or that absorb the dimensions behind them; also flatten, unflatten
    and reshape.
    """
    source, layout = argument(node, 0), reader.layout(argument(node, 0))
    if layout is None:
        return None
    before, after, (dim, slots) = shape_of(source), shape_of(node), layout
    outer, start = math.prod(before[:dim]), -1
    for position, size in enumerate(after):
        if math.prod(after[:position]) == outer and (size > 1 or len(slots) == 1):
            start = position
            break
    if start < 0:
        return unfollowed(reader, node)
    if after[start] % len(slots) == 0:
        return _merge(reader, node, layout, start)
    stop = next(
        (i for i in range(start + 1, len(after) + 1) if math.prod(after[start:i]) == len(slots)), None
    )
    return unfollowed(reader, node) if stop is None else _split(reader, node, slots, (start, stop))


def _merge(reader: Reader, node: fx.Node, layout: Layout, dim: int) -> Layout | None:
    """One channel becomes as many neighbours as there were elements behind it."""
    source, (channel, slots) = argument(node, 0), layout
    before, copies = shape_of(source), shape_of(node)[dim] // len(layout[1])
    if copies not in (math.prod(before[channel + 1 : end]) for end in range(channel + 1, len(before) + 1)):
        return unfollowed(reader, node)
    merged = slots.repeat(copies)
    reader.map.edits.append(Edit(node.name, "view", dim, (merged,)))
    return dim, merged


def _split(reader: Reader, node: fx.Node, slots: Slots, dims: tuple[int, int]) -> Layout | None:
    """One of the new dimensions stays removable, the channels along the others are joined."""
    shape = shape_of(node)
    free = next((dim for dim in range(*dims) if shape[dim] > 1 and not _is_indexed(node, dim)), None)
    if free is None:
        return unfollowed(reader, node)
    rows = slots.reshape(shape[dims[0] : dims[1]])
    units = rows.swapaxes(0, free - dims[0]).reshape(shape[free], -1)
    for column in units.T[1:]:
        reader.map.join(units[:, 0], column)
    reader.map.edits.append(Edit(node.name, "view", free, (units[:, 0],)))
    return free, units[:, 0]


def _is_indexed(node: fx.Node, dim: int) -> bool:
    """Whether the model later takes this dimension apart, as a fused projection's query, key and value."""
    for user in node.users:
        name, rank = operation(user), rank_of(node)
        if name in _INDEXING:
            if int(argument(user, _INDEXING[name], 0)) % rank == dim:
                return True
        elif name in ("permute", "transpose"):
            if _is_indexed(user, permutation(user).index(dim)):
                return True
        elif name in ("clone", "contiguous") and _is_indexed(user, dim):
            return True
    return False


def permutation(node: fx.Node) -> list[int]:
    """For each dimension of a permuted tensor, the one of its source."""
    order = list(range(rank_of(node)))
    if operation(node) == "permute":
        return dims_of(argument(node, 1), len(order))
    a, b = dims_of(node.args[1:3], len(order))
    order[a], order[b] = order[b], order[a]
    return order


def permute(reader: Reader, node: fx.Node) -> Layout | None:
    """The channels move to another dimension."""
    layout = reader.layout(argument(node, 0))
    return None if layout is None else (permutation(node).index(layout[0]), layout[1])


def matmul(reader: Reader, node: fx.Node) -> Layout | None:
    """Heads are batch dimensions of both operands; a contracted dimension couples both operands and
    disappears.
    """
    left, right = node.args[:2]
    rank = rank_of(node)
    if rank_of(left) != rank or rank_of(right) != rank:
        return unfollowed(reader, node)
    a, b = reader.layout(left), reader.layout(right)
    if a is None or b is None:
        if b is not None and b[0] == rank - 1:
            return b
        return unfollowed(reader, node)
    heads = a[0] == b[0] < rank - 2
    if len(a[1]) != len(b[1]) or not (heads or (a[0], b[0]) == (rank - 1, rank - 2)):
        return unfollowed(reader, node)
    reader.map.join(a[1], b[1])
    return a if heads else None


def dot_product_attention(reader: Reader, node: fx.Node) -> Layout | None:
    """Query, key and value of a head go together."""
    layouts = [reader.layout(value) for value in node.args[:3]]
    known = [layout for layout in layouts if layout is not None]
    if (
        len(known) < 3
        or len({(dim, len(slots)) for dim, slots in known}) > 1
        or known[0][0] >= rank_of(node) - 2
    ):
        return unfollowed(reader, node)
    dim, slots = known[0]
    mask: Any = argument(node, 3)
    own = -1 if mask is None else dim - rank_of(node) + rank_of(mask)
    if own >= 0 and shape_of(mask)[own] != 1:
        return unfollowed(reader, node)
    for _, other in known[1:]:
        reader.map.join(slots, other)
    return dim, slots


def softmax(reader: Reader, node: fx.Node) -> Layout | None:
    """The channels stay unless they are what is normalized."""
    layout = reader.layout(argument(node, 0))
    if layout is not None and int(argument(node, 1)) % rank_of(node) == layout[0]:
        return unfollowed(reader, node)
    return layout


def index(reader: Reader, node: fx.Node) -> Layout | None:
    """`select` and `unbind` take another dimension than the channels' away."""
    source, layout = argument(node, 0), reader.layout(argument(node, 0))
    if layout is None:
        return None
    dim = int(argument(node, 1, 0)) % rank_of(source)
    if dim == layout[0]:
        return unfollowed(reader, node)
    return layout[0] - (dim < layout[0]), layout[1]
