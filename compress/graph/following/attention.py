"""Rules for attention: whole heads can be removed.

A projection of H·D channels is viewed as H × D. The D channels of a head are joined into one unit, so that D
stays whole (and with it rotary positions and the 1/√D of the softmax). The products of queries, keys and
values join their heads. Flattened again, head i is D columns of the output projection: a model without the
head computes what the original would with these columns set to zero.
"""

import itertools
import math

import numpy as np
from torch import fx

from ..channels import Edit, Layout, Slots
from ..graph import argument, operation, shape_of
from .follower import Follower, dims_of, rank_of, unfollowed
from .layers import align

# By operation, the position of the argument that names its dimension.
_INDEXING = {"unbind": 1, "select": 1, "chunk": 2, "split": 2, "split_with_sizes": 2}


def view(follower: Follower, node: fx.Node) -> Layout | None:
    """A view, reshape, flatten or unflatten: splits channels into heads, or merges them with later
    dimensions.
    """
    source, layout = argument(node, 0), follower.layout(argument(node, 0))
    if layout is None:
        return None
    before, after, (dim, slots) = shape_of(source), shape_of(node), layout
    outer, start = math.prod(before[:dim]), -1
    for position, size in enumerate(after):
        if math.prod(after[:position]) == outer and (size > 1 or len(slots) == 1):
            start = position
            break
    if start < 0:
        return _merge_with_front(follower, node, layout)
    if after[start] % len(slots) == 0:
        return _merge(follower, node, layout, start)
    stop = next(
        (i for i in range(start + 1, len(after) + 1) if math.prod(after[start:i]) == len(slots)), None
    )
    return unfollowed(follower, node) if stop is None else _split(follower, node, slots, (start, stop))


def view_as(follower: Follower, node: fx.Node) -> Layout | None:
    """A view in the shape of another tensor, which has the same channels."""
    layout = view(follower, node)
    if layout is not None:
        align(follower, node, argument(node, 1), layout)
    return layout


def _merge(follower: Follower, node: fx.Node, layout: Layout, dim: int) -> Layout | None:
    """One channel becomes as many neighbours as there were elements behind it."""
    source, (channel, slots) = argument(node, 0), layout
    before, copies = shape_of(source), shape_of(node)[dim] // len(layout[1])
    if copies not in (math.prod(before[channel + 1 : end]) for end in range(channel + 1, len(before) + 1)):
        return unfollowed(follower, node)
    merged = slots.repeat(copies)
    follower.map.edits.append(Edit(node.name, "view", dim, (merged,)))
    return dim, merged


def _merge_with_front(follower: Follower, node: fx.Node, layout: Layout) -> Layout | None:
    """Channels that are merged with dimensions before them (permute and flatten) come once for each entry
    there.
    """
    before, after, (channel, slots) = shape_of(argument(node, 0)), shape_of(node), layout
    for start, stop in itertools.product(range(1, channel), range(channel + 1, len(before) + 1)):
        merged = np.tile(
            slots.repeat(math.prod(before[channel + 1 : stop])), math.prod(before[start:channel])
        )
        for dim, size in enumerate(after):
            if size == len(merged) and math.prod(after[:dim]) == math.prod(before[:start]):
                follower.map.edits.append(Edit(node.name, "view", dim, (merged,)))
                return dim, merged
    return unfollowed(follower, node)


def _split(follower: Follower, node: fx.Node, slots: Slots, dims: tuple[int, int]) -> Layout | None:
    """One of the new dimensions stays removable, the channels along the others are joined."""
    shape = shape_of(node)
    choices = range(*dims)[::-1] if _is_shuffled(node, dims) else range(*dims)
    free = next((dim for dim in choices if shape[dim] > 1 and not _is_indexed(node, dim)), None)
    if free is None:
        return unfollowed(follower, node)
    rows = slots.reshape(shape[dims[0] : dims[1]])
    units = rows.swapaxes(0, free - dims[0]).reshape(shape[free], -1)
    for column in units.T[1:]:
        follower.map.join(units[:, 0], column)
    follower.map.edits.append(Edit(node.name, "view", free, (units[:, 0],)))
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
        elif name == "unsqueeze":
            if _is_indexed(user, dim + (int(argument(user, 1)) % (rank + 1) <= dim)):
                return True
        elif name == "squeeze" and len(user.args) > 1:
            if _is_indexed(user, dim - sum(one < dim for one in dims_of(argument(user, 1), rank))):
                return True
        elif name in ("clone", "contiguous") and _is_indexed(user, dim):
            return True
    return False


def _is_shuffled(node: fx.Node, dims: tuple[int, int]) -> bool:
    """Whether the two new dimensions change places and are merged again: a shuffle of channels."""
    if dims[1] - dims[0] != 2 or len(node.users) != 1:
        return False
    user = next(iter(node.users))
    if operation(user) not in ("permute", "transpose") or len(user.users) != 1:
        return False
    order, merged = permutation(user), next(iter(user.users))
    while operation(merged) in ("clone", "contiguous") and len(merged.users) == 1:
        merged = next(iter(merged.users))
    swapped = order[dims[0]] == dims[0] + 1 and order[dims[0] + 1] == dims[0]
    is_merged = operation(merged) in ("view", "reshape", "flatten", "_unsafe_view")
    return swapped and is_merged and rank_of(merged) == rank_of(node) - 1


def permutation(node: fx.Node) -> list[int]:
    """For each dimension of a permuted tensor, the one of its source."""
    order = list(range(rank_of(node)))
    if operation(node) == "permute":
        return dims_of(argument(node, 1), len(order))
    a, b = dims_of(node.args[1:3], len(order))
    order[a], order[b] = order[b], order[a]
    return order


def permute(follower: Follower, node: fx.Node) -> Layout | None:
    """The channels move to another dimension."""
    layout = follower.layout(argument(node, 0))
    return None if layout is None else (permutation(node).index(layout[0]), layout[1])


def matmul(follower: Follower, node: fx.Node) -> Layout | None:
    """Heads are batch dimensions of both operands; a contracted dimension joins the two and disappears."""
    first, second = node.args[:2]
    rank = rank_of(node)
    if rank_of(first) != rank or rank_of(second) != rank:
        return unfollowed(follower, node)
    a, b = follower.layout(first), follower.layout(second)
    if a is None or b is None:
        if b is not None and b[0] == rank - 1:
            return b
        return unfollowed(follower, node)
    heads = a[0] == b[0] < rank - 2
    if len(a[1]) != len(b[1]) or not (heads or (a[0], b[0]) == (rank - 1, rank - 2)):
        return unfollowed(follower, node)
    follower.map.join(a[1], b[1])
    return a if heads else None


def dot_product_attention(follower: Follower, node: fx.Node) -> Layout | None:
    """Query, key and value of a head go together, with the head's own mask or bias of positions.

    Several heads of queries may share one key and value. Where there is one head, single channels are
    followed: those of the query go with those of the key.
    """
    layouts = [follower.layout(value) for value in node.args[:3]]
    query, key, value = layouts
    if query is None or key is None or value is None or query[0] != key[0] or query[0] != value[0]:
        return unfollowed(follower, node)
    if query[0] == rank_of(node) - 1 and node.kwargs.get("scale") is not None:
        follower.map.join(query[1], key[1])
        return value
    shared = len(query[1]) // len(key[1])
    if query[0] >= rank_of(node) - 2 or len(key[1]) != len(value[1]) or len(query[1]) % len(key[1]):
        return unfollowed(follower, node)
    for _, other in (key, value):
        follower.map.join(query[1], other.repeat(shared))
    mask = argument(node, 3)
    if mask is not None:
        align(follower, node, mask, query)
    return query


def gather(follower: Follower, node: fx.Node) -> Layout | None:
    """The channels stay where each finds the same places, which are copied for it."""
    layout, places = follower.layout(argument(node, 0)), argument(node, 2)
    if layout is None:
        return None
    dim, slots = layout
    along, source = int(argument(node, 1)) % rank_of(node), argument(places, 0)
    if dim == along or operation(places) != "expand" or len(places.users) > 1:
        return unfollowed(follower, node)
    there = dim + rank_of(source) - rank_of(places)
    if there >= 0 and shape_of(source)[there] != 1:
        return unfollowed(follower, node)
    follower.map.edits.append(Edit(places.name, "view", dim, (slots,)))
    return layout


def softmax(follower: Follower, node: fx.Node) -> Layout | None:
    """The channels stay unless the softmax runs along them."""
    layout = follower.layout(argument(node, 0))
    if layout is not None and int(argument(node, 1)) % rank_of(node) == layout[0]:
        return unfollowed(follower, node)
    return layout


def index(follower: Follower, node: fx.Node) -> Layout | None:
    """`select` and `unbind` remove a dimension, which must not be that of the channels."""
    source, layout = argument(node, 0), follower.layout(argument(node, 0))
    if layout is None:
        return None
    dim = int(argument(node, 1, 0)) % rank_of(source)
    if dim == layout[0]:
        return unfollowed(follower, node)
    return layout[0] - (dim < layout[0]), layout[1]
