"""Removes channels: slices the parameters, and adapts the constants of the graph that count channels."""

from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import fx

from ..graph.channels import ChannelMap, Edit, Group
from ..graph.graph import argument, clone_of_graph, get_tensor, operation, set_tensor


def removed_units(
    groups: Mapping[str, Group], keep: Mapping[str, int], scores: Mapping[int, float]
) -> frozenset[int]:
    """The units to remove so that each group in `keep` has that many channels: those with the lowest scores.

    Raises ValueError for an unknown group and for a keep count outside 1..channels.
    """
    removed: set[int] = set()
    for name, count in keep.items():
        if name not in groups:
            raise ValueError(
                f"the model has no group {name!r} of channels: its groups are {', '.join(groups) or 'none'}"
            )
        units = groups[name].units
        if not 1 <= count <= len(units):
            raise ValueError(f"group {name!r} has {len(units)} channels: {count} cannot be kept")
        ranked = sorted(units, key=lambda unit: (scores[unit.number], unit.number))
        removed.update(unit.number for unit in ranked[: len(units) - count])
    return frozenset(removed)


def prune(module: fx.GraphModule, channels: ChannelMap, removed: Set[int]) -> fx.GraphModule:
    """A copy of a traced model without the channels of the `removed` units; the original is not changed.
    Tensors that keep their shapes are those of the original.
    """
    pruned = clone_of_graph(module)
    if not removed:
        return pruned
    for use in channels.uses:
        remains = channels.remaining(use.slots, removed)
        if not remains.all():
            tensor = get_tensor(pruned, use.parameter).detach()
            index = torch.from_numpy(np.flatnonzero(remains))
            set_tensor(pruned, use.parameter, tensor.index_select(use.dim, index).contiguous())
    nodes = {node.name: node for node in pruned.graph.nodes}
    for name, (edit, counts) in changed_edits(channels, removed).items():
        _EDITS[edit.kind](nodes[name], edit.dim, counts)
    pruned.recompile()
    return pruned


def changed_edits(channels: ChannelMap, removed: Set[int]) -> dict[str, tuple[Edit, tuple[int, ...]]]:
    """By node name, the edits whose counts differ from the original's, with the counts that remain."""
    changed = {}
    for edit in channels.edits:
        counts = tuple(int(channels.remaining(slots, removed).sum()) for slots in edit.slots)
        if counts != tuple(map(len, edit.slots)):
            changed[edit.node] = edit, counts
    return changed


def _with_argument(node: fx.Node, index: int, value: Any) -> None:
    arguments = list(node.args)
    arguments[index] = value
    node.args = tuple(arguments)


def _edit_groups(node: fx.Node, dim: int, counts: tuple[int, ...]) -> None:
    _with_argument(node, 6, counts[0])


def _edit_pad(node: fx.Node, dim: int, counts: tuple[int, ...]) -> None:
    """Amounts come in pairs, last dimension first."""
    amounts: Any = argument(node, 1)
    offset = 2 * (len(node.meta["val"].shape) - 1 - dim)
    _with_argument(node, 1, [*amounts[:offset], *counts, *amounts[offset + 2 :]])


def _edit_slice(node: fx.Node, dim: int, counts: tuple[int, ...]) -> None:
    skipped, taken = counts
    node.args = (*node.args[:2], skipped, skipped + taken, *node.args[4:])


def _edit_split(node: fx.Node, dim: int, counts: tuple[int, ...]) -> None:
    is_list = isinstance(argument(node, 1), (list, tuple))
    _with_argument(node, 1, list(counts) if is_list else counts[0])


def _edit_view(node: fx.Node, dim: int, counts: tuple[int, ...]) -> None:
    """Sizes of a view; -1 is inferred, and `flatten` and the like have no sizes."""
    if operation(node) in ("flatten", "view_as", "reshape_as", "expand_as"):
        return
    position, first = 1, 0
    if operation(node) == "unflatten":
        position, first = 2, argument(node, 1) % len(argument(node, 0).meta["val"].shape)
    shape: Any = argument(node, position)
    if isinstance(shape[dim - first], int) and shape[dim - first] > 0:
        _with_argument(node, position, [*shape[: dim - first], counts[0], *shape[dim - first + 1 :]])


def _edit_repeat(node: fx.Node, dim: int, counts: tuple[int, ...]) -> None:
    """Nothing changes here; the exported file may count these channels."""


_EDITS: Mapping[str, Callable[[fx.Node, int, tuple[int, ...]], None]] = {
    "groups": _edit_groups,
    "pad": _edit_pad,
    "slice": _edit_slice,
    "split": _edit_split,
    "repeat": _edit_repeat,
    "view": _edit_view,
}
