"""Sparsity 2:4: of four neighbouring input channels, each output channel has at most two nonzero weights.

This holds at each kernel position. TensorRT's sparse kernels need it: along the input channels of a
convolution, the columns of a linear layer.

Source: Frantar, Alistarh, "SparseGPT" (2023), section 3.3. When a group of four columns is reached, the two
with the least w² / [H⁻¹]² become zero, and the columns behind compensate for it. Weights are groups × rows ×
columns as in `reconstruct`.
"""

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, fx

from ...errors import StageError
from ..graph.graph import argument, get_tensor, layer_nodes, set_tensor
from ..graph.layers import Layer
from .reconstruct import damped
from .statistics import columns_of, groups_of_layer

GROUP = 4
KEPT = 2


def sparse_refusal(layer: Layer, channels: int | None = None) -> str:
    """Why the layer cannot be sparse 2:4; empty if it can.

    `channels` is the size of its weight's input dimension after pruning (input channels divided by groups);
    None: that of the original.
    """
    if layer.float_only:
        return layer.float_only
    size = layer.weight_shape[1] if channels is None else channels
    if size % GROUP:
        return f"2:4 sparsity needs input channels in fours: each output channel reads {size}"
    return ""


def is_sparse(weight: Tensor) -> bool:
    """Whether a weight (out × in × …) is sparse 2:4."""
    if weight.shape[1] % GROUP:
        return False
    fours = weight.reshape(len(weight), -1, GROUP, *weight.shape[2:])
    return bool(((fours != 0).sum(2) <= KEPT).all())


def sparsify(weight: Tensor, second: Tensor, taps: int) -> Tensor:
    """The weight with two of four input channels, which compensate for the others. `taps`: kernel positions.

    Groups of four go in order of falling diag(H), as the columns of `round_compensating` do.
    """
    order = torch.stack([_order(h.diagonal(), taps) for h in second])
    back = order.argsort(-1)
    hessian = torch.stack([h[o][:, o] for h, o in zip(damped(second.double()), order, strict=True)])
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True).float()
    ordered = torch.stack([w[:, o] for w, o in zip(weight, order, strict=True)])
    for start in range(0, ordered.shape[-1], GROUP):
        here = slice(start, start + GROUP)
        scores = ordered[..., here] / factor.diagonal(dim1=-2, dim2=-1)[:, None, here]
        gone = scores.square().argsort(-1)[..., : GROUP - KEPT]
        keep = torch.ones_like(scores).scatter(-1, gone, 0.0)
        for column in range(start, start + GROUP):
            value = ordered[..., column].clone()
            ordered[..., column] = value * keep[..., column - start]
            error = (value - ordered[..., column]) / factor[:, column, column, None]
            ordered[..., column + 1 :] -= error.unsqueeze(-1) * factor[:, None, column, column + 1 :]
    return torch.stack([w[:, o] for w, o in zip(ordered, back, strict=True)])


def _order(importance: Tensor, taps: int) -> Tensor:
    """The columns (channels × kernel positions), each group of four side by side, most used groups first."""
    places = torch.arange(len(importance), device=importance.device)
    columns = places.reshape(-1, GROUP, taps).movedim(1, 2).reshape(-1, GROUP)
    return columns[importance[columns].sum(1).argsort(descending=True)].flatten()


def sparse_weight(weight: Tensor, second: Tensor) -> Tensor:
    """`sparsify` for a weight in its own shape (out × in × …)."""
    columns = columns_of(weight, len(second))
    return sparsify(columns, second, weight[0, 0].numel()).reshape(weight.shape)


def require_fours(module: fx.GraphModule, layers: Collection[str]) -> None:
    """Raises StageError if a layer of `layers` does not read a multiple of 4 input channels."""
    for name, node in layer_nodes(module):
        size = get_tensor(module, str(argument(node, 1).target)).shape[1]
        if name in layers and size % GROUP:
            reason = f"each output channel reads {size} input channels, no multiple of {GROUP}"
            raise StageError(f"{name} cannot be sparse 2:4: {reason}", stage="prune")


def sparsify_rest(module: fx.GraphModule, layers: Iterable[str]) -> None:
    """Makes layers sparse in place that have no input statistics: the two largest of four weights stay."""
    wanted = set(layers)
    for name, node in layer_nodes(module):
        weight = str(argument(node, 1).target)
        tensor = get_tensor(module, weight).detach()
        if name in wanted and not is_sparse(tensor):
            groups = groups_of_layer(node)
            identity = torch.eye(tensor[0].numel(), device=tensor.device).expand(groups, -1, -1)
            set_tensor(module, weight, sparse_weight(tensor, identity))
