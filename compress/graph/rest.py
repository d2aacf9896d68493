"""What the file stores beside the layers: tables, positions, normalization, recurrent biases, masks.

A *remainder* is a parameter or buffer that the graph reads and that is no layer's weight or bias. It takes
bytes in every artifact, so that costs count it; if it has several dimensions, a reason says why it stays
float32.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from torch import Tensor, fx

from .blocks import Block
from .graph import (
    RECURRENT,
    array_of,
    folded_norms,
    get_tensor,
    operation,
    shape_of,
    varying_nodes,
)
from .layers import Layer
from .tracing.origin import named

_MOVES = frozenset(
    "view reshape _unsafe_view flatten unflatten expand unsqueeze squeeze slice select permute transpose t "
    "to _to_copy clone contiguous repeat alias detach".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """One stored tensor; `names` are several if equal buffers are stored once.

    `share` is the part of its elements that the file holds at least: a table of positions may be cut before
    it is stored. `reason` is empty for vectors.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    item_bytes: int
    trained: bool
    share: float
    reason: str

    @property
    def bytes(self) -> int:
        """A lower bound of its bytes in the original's file."""
        return int(math.prod(self.shape) * self.share) * self.item_bytes


def remainders_of(module: fx.GraphModule, layers: Sequence[Layer]) -> tuple[Remainder, ...]:
    """What the graph reads beside the weights and biases of layers.

    Normalization that is folded into a layer is stored nowhere.
    """
    held = {name for layer in layers for name in (layer.weight, layer.bias)}
    folded, varying, trained = (
        set(folded_norms(module)),
        varying_nodes(module),
        dict(module.named_parameters()),
    )
    remainders: dict[object, Remainder] = {}
    for name, nodes in _readers(module, folded).items():
        tensor = get_tensor(module, name)
        if name in held or tensor.numel() < 2:
            continue
        remainder = Remainder(
            names=(name,),
            shape=tuple(tensor.shape),
            item_bytes=tensor.element_size(),
            trained=name in trained,
            share=_share(nodes, tensor, varying),
            reason=_reason(nodes) if sum(size > 1 for size in tensor.shape) > 1 else "",
        )
        key = name if name in trained else (array_of(tensor).tobytes(), tensor.shape, tensor.dtype)
        if key in remainders:
            remainder = _joined(remainders[key], remainder)
        remainders[key] = remainder
    return tuple(remainders.values())


def _joined(one: Remainder, other: Remainder) -> Remainder:
    smaller = min(one, other, key=lambda each: each.share)
    return Remainder(
        names=one.names + other.names,
        shape=one.shape,
        item_bytes=one.item_bytes,
        trained=one.trained,
        share=smaller.share,
        reason=one.reason,
    )


def _readers(module: fx.GraphModule, folded: Set[fx.Node]) -> Mapping[str, list[fx.Node]]:
    """By tensor the nodes that read it."""
    readers: dict[str, list[fx.Node]] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and isinstance(node.meta.get("val"), Tensor):
            nodes = [user for user in node.users if user not in folded]
            if nodes:
                readers.setdefault(str(node.target), []).extend(nodes)
    return readers


def _share(nodes: Sequence[fx.Node], tensor: Tensor, varying: Set[fx.Node]) -> float:
    """1 if something reads the tensor together with the model's inputs; else the exporter may compute on."""
    if any(node in varying for node in nodes):
        return 1.0
    ends, waiting = {}, list(nodes)
    while waiting:
        node = waiting.pop()
        if any(user in varying or user.op == "output" for user in node.users):
            ends[node] = _bytes(node)
        waiting.extend(user for user in node.users if user not in varying)
    return min(1.0, sum(ends.values()) / (tensor.numel() * tensor.element_size()))


def _bytes(node: fx.Node) -> int:
    value = node.meta.get("val")
    return math.prod(shape_of(node)) * value.element_size() if isinstance(value, Tensor) else 0


def _reason(nodes: Iterable[fx.Node]) -> str:
    """Why a tensor of several dimensions is no layer: the operation that reads it."""
    node = next(iter(nodes))
    while operation(node) in _MOVES and node.users:
        node = next(iter(node.users))
    name = operation(node)
    if name in ("embedding", "index", "index_select", "gather"):
        return f"it is a table from which {named(node)} takes rows"
    if name in RECURRENT:
        return f"it belongs to a recurrent layer, {named(node)}"
    if name in ("add", "sub", "mul", "div"):
        return f"{named(node)} takes it element by element"
    return f"no rule makes a layer of what {named(node)} does with it"


def read_without(module: fx.GraphModule, blocks: Iterable[Block]) -> frozenset[str]:
    """The names of the parameters and buffers that the graph still reads without these blocks."""
    branches = {block.sum_node: block.branch for block in blocks}
    waiting = [node for node in module.graph.nodes if node.op == "output"]
    living = set(waiting)
    while waiting:
        node = waiting.pop()
        sources = node.all_input_nodes
        if node.name in branches:
            sources = [sources[1 - branches[node.name]]]
        new = [source for source in sources if source not in living]
        living.update(new)
        waiting.extend(new)
    return frozenset(str(node.target) for node in living if node.op == "get_attr")
