"""Low rank: a linear layer or pointwise convolution as a product of two, in → rank → out.

The product is the best of its rank on the layer's inputs, not on the weight alone. With their second moment
E[x xᵀ] = L Lᵀ the output error E|(W - W')x|² is ‖(W - W')L‖², so that the truncated SVD of W L = U Σ Vᵀ gives
W' = (U_r Σ_r)(V_rᵀ L⁻¹). Source: Wang et al., "SVD-LLM: Truncation-aware Singular Value Decomposition"
(2024), section 3.1; without moments it is the plain SVD of the weight.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from ...errors import StageError
from ..graph.graph import argument, get_tensor, layer_nodes, operation, set_tensor
from ..graph.layers import Layer

SHARES = (0.25, 0.5, 0.75)  # of the rank at which the two factors multiply as much as the layer
RANK_MULTIPLE = 8
SMALLEST_SIDE = 32
RIDGE = 1e-3  # of the mean second moment: channels that the calibration set never excites keep some weight


def rank_levels(layer: Layer) -> tuple[int, ...]:
    """Ranks that save multiplications, ascending multiples of 8; empty for a layer that cannot be factored or
    is small.
    """
    rows, columns = layer.weight_shape[0], layer.weight_numel // layer.weight_shape[0]
    pointwise = layer.kind in ("conv", "linear") and columns == layer.channels_in
    own = layer.uses == 1 and not layer.float_only and layer.weight == f"{layer.name}.weight"
    if not pointwise or not own or min(rows, columns) < SMALLEST_SIDE:
        return ()
    limit = rows * columns / (rows + columns)
    ranks = {max(RANK_MULTIPLE, round(share * limit / RANK_MULTIPLE) * RANK_MULTIPLE) for share in SHARES}
    return tuple(sorted(rank for rank in ranks if saves(rank, rows, columns)))


def saves(rank: int, rows: int, columns: int) -> bool:
    """Whether the two factors multiply less than a weight of rows × columns; a layer stays whole where they
    do not.
    """
    return rank * (rows + columns) < rows * columns


def factor_name(layer: str) -> str:
    """The name of the first factor; the second keeps the layer's."""
    return f"{layer}.down"


def factorize(
    module: fx.GraphModule, ranks: Mapping[str, int], second_moments: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Replaces layers by two in place: `<layer>.down` (stride and padding, no bias), then the layer itself
    (bias).

    `second_moments` are E[x xᵀ] of the layers' inputs, in × in. Layers whose rank does not save anything at
    their present size stay whole; the names of the factored ones come back. Raises StageError for a layer
    that cannot be factored.
    """
    nodes, factored = dict(layer_nodes(module)), []
    for name, rank in ranks.items():
        if name not in nodes:
            raise StageError(f"{name} cannot have rank {rank}: the model has no such layer", stage="prune")
        weight = get_tensor(module, f"{name}.weight").detach()
        matrix = weight.flatten(1)
        if saves(rank, *matrix.shape):
            up, down = low_rank_factors(matrix, rank, second_moments.get(name))
            split_layer(module, name, up, down)
            factored.append(name)
    return tuple(factored)


def low_rank_factors(matrix: Tensor, rank: int, second_moment: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """out × rank and rank × in, whose product is the best approximation of `matrix` (out × in) on inputs with
    that moment.

    All singular values stand in the first: the numbers in between then have unit variance each, which one
    uint8 scale fits.
    """
    values = matrix.double()
    if second_moment is None:
        root = torch.eye(values.shape[1], dtype=values.dtype)
    else:
        moment = second_moment.double()
        ridge = RIDGE * moment.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
        root = torch.linalg.cholesky(moment + ridge * torch.eye(len(moment), dtype=values.dtype))
    left, sizes, right = torch.linalg.svd(values @ root, full_matrices=False)
    down = torch.linalg.solve_triangular(root, right[:rank], upper=False, left=False)
    return (left[:, :rank] * sizes[:rank]).to(matrix.dtype), down.to(matrix.dtype)


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
