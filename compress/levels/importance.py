"""How important each removable channel is; the least important ones of a group are removed first."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ...tasks.plain.parts import fixed_batch, in_parts
from ..graph.channels import ChannelMap, Group
from ..graph.graph import get_tensor
from .reconstruct import Removal

Scores = Mapping[int, float]


class RemovalScores:
    """A channel's place in the order of removal of its group; its magnitude where no layer reads it.

    A group gets its order when it is first asked for: making it takes a while.
    """

    def __init__(
        self, groups: Sequence[Group], magnitudes: Scores, removal: Callable[[Group], Removal | None]
    ):
        self._groups = {group.name: group for group in groups}
        self._removal = removal
        self._scores = dict(magnitudes)

    def of(self, groups: Collection[str]) -> Scores:
        """The scores of all channels of these groups; those of others may be magnitudes."""
        for name in [name for name in groups if name in self._groups]:
            group = self._groups[name]
            removal = self._removal(group)
            for place, unit in enumerate(removal.order if removal else ()):
                self._scores[group.units[unit].number] = float(place)
            del self._groups[name]
        return self._scores


def magnitude_scores(module: fx.GraphModule, groups: Iterable[Group]) -> Scores:
    """Per unit, the sum of squares of all weights that are removed with it, on both sides.

    Source: Li et al., "Pruning Filters for Efficient ConvNets" (2017), extended to the weights that read the
    channel. A ResNet-20 without half of its third stage had 61 % accuracy with it, 48 % with Taylor scores
    (statistics re-estimated).
    """
    scores = {}
    for group in groups:
        for unit in group.units:
            total = 0.0
            for (parameter, dim), index in unit.indices.items():
                tensor = get_tensor(module, parameter).detach()
                total += float(tensor.index_select(dim, torch.from_numpy(index)).square().sum())
            scores[unit.number] = total
    return scores


def taylor_scores(
    module: fx.GraphModule,
    channels: ChannelMap,
    loss: Callable[[Any, Any], Tensor],
    batches: Iterable[tuple[tuple[Tensor, ...], Any]],
) -> Scores:
    """Per unit, Σ over batches of (Σ w·∂L/∂w)² over the parameters that make its channels.

    Source: Molchanov et al., "Importance Estimation for Neural Network Pruning" (2019), equation 8, with
    gates on the parameters of convolutions and normalizations. The module must be in inference form; it is
    left without gradients.
    """
    roots = [
        (use, channels.roots(use.slots))
        for use in channels.uses
        if use.writes and get_tensor(module, use.parameter).requires_grad
    ]
    totals = np.zeros(len(channels.parents))
    for inputs, targets in batches:
        module.zero_grad(set_to_none=True)
        outputs = in_parts(module, inputs, fixed_batch(module))
        loss(outputs, targets).backward()  # type: ignore[no-untyped-call]
        change = np.zeros(len(channels.parents))
        for use, units in roots:
            tensor = get_tensor(module, use.parameter)
            if tensor.grad is not None:
                product = (tensor.detach() * tensor.grad).movedim(use.dim, 0).reshape(len(units), -1).sum(1)
                np.add.at(change, units, product.double().numpy())
        totals += change**2
    module.zero_grad(set_to_none=True)
    scored = {int(unit) for _, units in roots for unit in units}
    return {unit: float(totals[unit]) for unit in scored}
