"""Low rank: a linear layer or pointwise convolution as a product of two."""

from collections.abc import Mapping

from torch import Tensor, fx

from .network import Layer


def rank_levels(layer: Layer) -> tuple[int, ...]:
    """Ranks that save multiplications, ascending; empty for a layer that cannot be factored."""
    return ()


def factorize(module: fx.GraphModule, ranks: Mapping[str, int], second_moments: Mapping[str, Tensor]) -> None:
    """Replaces each layer in `ranks` by two, in place."""
