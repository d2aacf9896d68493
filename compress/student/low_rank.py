"""Low rank: a linear layer or pointwise convolution as a product of two, in → rank → out.

The product is the best of its rank on the layer's inputs. With their second moment
E[x xᵀ] = L Lᵀ the output error E|(W - W')x|² is ‖(W - W')L‖², so that the truncated SVD of W L = U Σ Vᵀ gives
W' = (U_r Σ_r)(V_rᵀ L⁻¹). Source: Wang et al., "SVD-LLM: Truncation-aware Singular Value Decomposition"
(2024), section 3.1; without moments it is the plain SVD of the weight.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, fx

from ...errors import StageError
from ..graph.factors import largest_rank, saves, split_layer
from ..graph.graph import get_tensor, layer_nodes
from ..levels.database import LevelDatabase, digest_of_tensors

RIDGE = 1e-3  # of the mean second moment: channels that are zero on all samples keep some weight


def factorize(
    module: fx.GraphModule,
    ranks: Mapping[str, int],
    second_moments: Mapping[str, Tensor],
    database: LevelDatabase | None = None,
) -> tuple[str, ...]:
    """Replaces each layer by two in place: `<layer>.down` (stride, padding), then the layer itself (bias).

    `second_moments` are E[x xᵀ] of the layers' inputs, in × in; a `database` keeps the factors. Layers whose
    rank saves nothing at their present size stay whole. Returns the names of the factored ones. Raises
    StageError for a layer that cannot be factored.
    """
    nodes, factored = dict(layer_nodes(module)), []
    factors = low_rank_factors if database is None else partial(kept_factors, database)
    for name, rank in ranks.items():
        if name not in nodes:
            raise StageError(f"{name} cannot have rank {rank}: the model has no such layer", stage="prune")
        weight = get_tensor(module, f"{name}.weight").detach()
        matrix = weight.flatten(1)
        if saves(rank, *matrix.shape):
            up, down = factors(matrix, rank, second_moments.get(name))
            split_layer(module, name, up, down)
            factored.append(name)
    return tuple(factored)


def low_rank_factors(matrix: Tensor, rank: int, second_moment: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Factors out × rank and rank × in: the best approximation of `matrix` (out × in) on inputs with that
    moment.

    The first holds all singular values. The numbers between the two then have unit variance each, so that one
    uint8 scale suits them all.
    """
    values = matrix.double()
    if second_moment is None:
        up, down = _leading(values, rank)
    else:
        moment = second_moment.double()
        ridge = RIDGE * moment.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
        eye = torch.eye(len(moment), dtype=values.dtype, device=values.device)
        root = torch.linalg.cholesky(moment + ridge * eye)
        up, down = _leading(values @ root, rank)
        down = torch.linalg.solve_triangular(root, down, upper=False, left=False)
    return up.to(matrix.dtype), down.to(matrix.dtype)


def _leading(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The first `rank` singular values and vectors of a matrix, out × rank and rank × in; the first holds the
    values. By the eigenvectors of the smaller of AAᵀ and AᵀA, in a fraction of the time of a decomposition of
    A: a projection on them is as exact as they are orthogonal, however small their values.
    """
    if len(matrix) > matrix.shape[1]:
        vectors = torch.linalg.eigh(matrix.T @ matrix).eigenvectors.flip(-1)[:, :rank]
        return matrix @ vectors, vectors.T
    vectors = torch.linalg.eigh(matrix @ matrix.T).eigenvectors.flip(-1)[:, :rank]
    down = vectors.T @ matrix
    sizes = down.norm(dim=1).clamp_min(torch.finfo(down.dtype).tiny)
    return vectors * sizes, down / sizes.unsqueeze(1)


def kept_factors(
    database: LevelDatabase, matrix: Tensor, rank: int, second_moment: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`low_rank_factors` for a rank that `saves` something, of which the database keeps all such ranks at
    once: a decomposition takes seconds of a large layer, and most candidates have the same ones.
    """
    of = {"matrix": matrix} if second_moment is None else {"matrix": matrix, "second_moment": second_moment}
    name = f"factors/{digest_of_tensors('', of)}"
    kept = database.load(name)
    if kept is None:
        up, down = low_rank_factors(matrix, largest_rank(*matrix.shape), second_moment)
        kept = {"up": up, "down": down}
        database.save(name, kept)
    return kept["up"][:, :rank], kept["down"][:rank]
