"""Factored layers in the graph: a linear layer or pointwise convolution becomes two, in → rank → out.

`rank_levels` lists the ranks that the search may choose, `split_layer` makes two nodes of one.
`student/low_rank.py` computes the weights of the two.
"""

import math

from torch import Tensor, fx, nn

from ...errors import StageError
from .graph import argument, get_tensor, layer_nodes, operation, set_tensor
from .layers import Layer

SHARES = (0.25, 0.5, 0.75)  # of the rank at which the two factors multiply as much as the layer
RANK_MULTIPLE = 8
SMALLEST_SIDE = 32


def rank_levels(layer: Layer) -> tuple[int, ...]:
    """Ranks that save multiplications, ascending multiples of 8; none for a small layer or one of another
    kind.
    """
    rows, columns = layer.weight_shape[0], layer.weight_numel // layer.weight_shape[0]
    pointwise = layer.kind in ("conv", "linear") and columns == layer.channels_in
    plain = layer.uses == 1 and not layer.float_only and layer.weight == f"{layer.name}.weight"
    if not pointwise or not plain or min(rows, columns) < SMALLEST_SIDE:
        return ()
    limit = rows * columns / (rows + columns)
    ranks = {max(RANK_MULTIPLE, round(share * limit / RANK_MULTIPLE) * RANK_MULTIPLE) for share in SHARES}
    return tuple(sorted(rank for rank in ranks if saves(rank, rows, columns)))


def saves(rank: int, rows: int, columns: int) -> bool:
    """Whether the two factors take fewer multiplications than a weight of rows × columns."""
    return rank * (rows + columns) < rows * columns


def largest_rank(rows: int, columns: int) -> int:
    """The largest rank that `saves` anything, at least 1."""
    return max(1, math.ceil(rows * columns / (rows + columns)) - 1)


def factor_name(layer: str) -> str:
    """The name of the first factor; the second keeps the layer's."""
    return f"{layer}.down"


def split_layer(module: fx.GraphModule, name: str, up: Tensor, down: Tensor) -> None:
    """Puts `down` (rank × in) in front of a layer of the graph, whose weight becomes `up` (out × rank)."""
    node = dict(layer_nodes(module))[name]
    weight: fx.Node = argument(node, 1)
    owner, first = module.get_submodule(name), factor_name(name)
    if len(weight.users) > 1 or hasattr(owner, "down"):
        raise StageError(
            f"{name} cannot be factored: something else reads its weight, or is called {first}", stage="prune"
        )
    kernel = (1,) * (get_tensor(module, f"{name}.weight").dim() - 2)
    owner.add_module("down", nn.Module())
    set_tensor(module, f"{first}.weight", down.reshape(*down.shape, *kernel).contiguous())
    set_tensor(module, f"{name}.weight", up.reshape(*up.shape, *kernel).contiguous())
    with module.graph.inserting_before(node):
        down_weight = module.graph.get_attr(f"{first}.weight")
        arguments = (argument(node, 0), down_weight, None, *node.args[3:])
        inner = module.graph.create_node("call_function", node.target, arguments, name=f"{node.name}_down")
    node.args = (inner, weight, *node.args[2:3])
    if "val" in node.meta:
        shape, channels = list(node.meta["val"].shape), -1 if operation(node) == "linear" else 1
        shape[channels] = len(down)
        inner.meta["val"] = node.meta["val"].new_empty(shape)
        down_weight.meta["val"], weight.meta["val"] = (
            weight.meta["val"].new_empty((*x.shape, *kernel)) for x in (down, up)
        )
    module.recompile()
