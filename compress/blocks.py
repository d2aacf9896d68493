"""Residual blocks: which there are, and the graph without one. Depth is what the latency of a small network follows."""

from dataclasses import dataclass

from torch import fx


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The branch of a residual sum. `layers` are the convolutions and linear layers that go when the block is removed."""

    name: str
    layers: tuple[str, ...]
    sum_node: str


def find_blocks(module: fx.GraphModule) -> tuple[Block, ...]:
    """The removable residual blocks, in order of execution."""
    return ()


def remove_blocks(module: fx.GraphModule, blocks: tuple[Block, ...]) -> None:
    """Removes the branches of `blocks` from the graph, in place."""
