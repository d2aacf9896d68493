"""What a rule needs to follow channels through one operation: the graph, the map being filled, and layouts so
far.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from .channels import ChannelMap, Layout
from .graph import operation


class Reader:
    """A graph that is being read once, in order of execution."""

    def __init__(self, module: fx.GraphModule):
        self.module = module
        self.map = ChannelMap()
        self.layouts: dict[fx.Node, Layout] = {}

    def layout(self, value: Any) -> Layout | None:
        """Where the channels of a node's tensor are, if they are followed."""
        return self.layouts.get(value) if isinstance(value, fx.Node) else None

    def pin_inputs(self, node: fx.Node, reason: str) -> None:
        """Forbids the removal of every channel that enters the node."""
        for source in node.all_input_nodes:
            layout = self.layouts.get(source)
            if layout is not None:
                self.map.pin(layout[1], reason)


def unfollowed(reader: Reader, node: fx.Node) -> Layout | None:
    """No layout: the operation pins what enters it."""
    reader.pin_inputs(node, f"its channels enter {operation(node)}, which cannot lose any")
    return None


def shape_of(node: Any) -> list[int]:
    """Shape with the batch size of the example in place of the free one."""
    return [
        int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)
        for size in node.meta["val"].shape
    ]


def rank_of(node: Any) -> int:
    """Number of dimensions of the node's tensor."""
    return len(node.meta["val"].shape)


def dims_of(value: Any, rank: int) -> list[int]:
    """One or several dimensions, counted from 0."""
    return [dim % rank for dim in (value if isinstance(value, Iterable) else [value])]
