"""What a rule needs to follow channels through one operation: the graph, the map, and the layouts so far."""

from collections.abc import Iterable
from typing import Any

from torch import fx

from ..channels import ChannelMap, Layout
from ..tracing.origin import named


class Follower:
    """The state while a graph is read once, in order of execution."""

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


def unfollowed(follower: Follower, node: fx.Node) -> Layout | None:
    """The rule of an operation that cannot be followed: it pins what enters it."""
    follower.pin_inputs(node, f"its channels enter {named(node)}, which cannot lose any")
    return None


def rank_of(node: Any) -> int:
    """Number of dimensions of the node's tensor."""
    return len(node.meta["val"].shape)


def dims_of(value: Any, rank: int) -> list[int]:
    """One or several dimensions, counted from 0."""
    values = value if isinstance(value, Iterable) else [value]
    return [dim % rank for dim in values]
