"""Weights on a grid while they are trained: straight-through rounding with a learned step per output channel.

Only the weights are rounded: their integers are exactly those of the file. Activations have 8 bits and are
calibrated after training. Sparse weights keep their zeros. float16 and fp8 weights, and the stored bits of
transposed convolutions and recurrent layers, are rounded to nearest and have no step to learn. Normalization
stays in the graph; folding it later scales the steps.

Source: Esser et al., "Learned Step Size Quantization" (2020), equations 1 to 4; per output channel.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...graph.graph import LAYERS, argument, batch_norms, get_tensor, layer_nodes, set_tensor, weights_of
from ...levels.reconstruct import Rounding, grid_limits
from ...levels.value_grids import rounded_to_bits, rounded_weight
from ...recipe import BITS, HALF, SPARSE, STORED, Precision

NEAREST: Mapping[Precision, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(HALF, lambda weight: weight.half().to(weight.dtype)),
    "fp8": rounded_weight,
}
SMALLEST_GAMMA = 1e-6
MARGIN = 0.45  # of a step: the largest distance of a weight from its grid point at the start


class GridWeights(nn.Module):
    """The learned steps of the layers that are quantized; `rounded` makes their weights.

    `bits` by layer; `steps` by layer, float32, one per output channel, as reconstruction chose them.
    `precision` says which layers keep their zeros, and which are rounded to float16 or fp8.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        bits: Mapping[str, int],
        steps: Mapping[str, Tensor],
        precision: Mapping[str, Precision] | None = None,
    ):
        super().__init__()
        self.bits = dict(bits)
        self.masks: dict[str, Tensor] = {}
        self.nearest: dict[str, Callable[[Tensor], Tensor]] = {}
        self.stored = stored_elsewhere(module, precision or {})
        self.weights: dict[str, str] = {}
        self.gammas: list[str] = []
        gamma_behind = {argument(node, 0): argument(node, 1) for node in batch_norms(module)}
        for name, node in layer_nodes(module):
            weight = str(argument(node, 1).target)
            kind = (precision or {}).get(name, "float32")
            if kind in SPARSE:
                self.masks[weight] = get_tensor(module, weight).detach() != 0
            if kind in NEAREST:
                self.nearest[weight] = NEAREST[kind]
            if name in bits:
                self.weights[name] = weight
                if gamma_behind.get(node) is not None:
                    self.gammas.append(str(gamma_behind[node].target))
        self.steps = nn.ParameterList([nn.Parameter(steps[name].clone()) for name in self.weights])

    def rounded(self, module: fx.GraphModule) -> dict[str, Tensor]:
        """The rounded weights by parameter name; gradients reach both the weights and the steps."""
        values = {
            weight: _on_grid(get_tensor(module, weight), step.abs().clamp_min(1e-9), self.bits[name])
            for (name, weight), step in zip(self.weights.items(), self.steps, strict=True)
        }
        values |= {weight: get_tensor(module, weight) * mask for weight, mask in self.masks.items()}
        for weight, rounding in {**self.nearest, **self.stored}.items():
            value = values.get(weight, get_tensor(module, weight))
            values[weight] = value + (rounding(value.detach()) - value.detach())
        return values

    def move(self, device: torch.device) -> None:
        """Moves the steps and masks to a device."""
        self.steps = nn.ParameterList([nn.Parameter(step.detach().to(device)) for step in self.steps])
        self.masks = {weight: mask.to(device) for weight, mask in self.masks.items()}

    @property
    def parameters_read(self) -> list[str]:
        """The parameters that `rounded` replaces."""
        return [*dict.fromkeys([*self.weights.values(), *self.masks, *self.nearest, *self.stored])]

    def keep_signs(self, module: fx.GraphModule) -> None:
        """Keeps the γ behind these layers positive: folding a negative one would turn -2..1 into -1..2."""
        with torch.no_grad():
            for name in self.gammas:
                get_tensor(module, name).clamp_(min=SMALLEST_GAMMA)

    def settle(self, module: fx.GraphModule) -> dict[str, Tensor]:
        """Writes the rounded weights into the module and returns the steps by layer.

        Those in `stored` stay as they are: the file's encoding rounds them in the same way, and rounding
        twice would choose another step.
        """
        for weight, value in self.rounded(module).items():
            if weight not in self.stored:
                set_tensor(module, weight, value)
        return {
            name: step.detach().abs().clamp_min(1e-9)
            for name, step in zip(self.weights, self.steps, strict=True)
        }


def stored_elsewhere(
    module: fx.GraphModule, precision: Mapping[str, Precision]
) -> dict[str, Callable[[Tensor], Tensor]]:
    """By parameter the rounding to nearest of stored weights that no grid is learned for: those of transposed
    convolutions and recurrent layers.
    """
    return {
        weight.parameter: partial(rounded_to_bits, bits=BITS[precision[weight.layer]], axis=weight.step_dim)
        for weight in weights_of(module)
        if weight.operation not in LAYERS and precision.get(weight.layer) in STORED
    }


def start_on_grid(
    module: fx.GraphModule,
    roundings: Mapping[str, Rounding],
    bits: Mapping[str, int],
    precision: Mapping[str, Precision] | None = None,
) -> GridWeights:
    """The grid of layers that reconstruction rounded.

    Their weights in `module` move as near to the values before rounding as they can without rounding
    otherwise.
    """
    for name, node in layer_nodes(module):
        if (rounding := roundings.get(name)) is not None:
            weight = str(argument(node, 1).target)
            set_tensor(
                module, weight, near_grid(rounding.weight, get_tensor(module, weight).detach(), rounding.step)
            )
    steps = {name: rounding.step for name, rounding in roundings.items()}
    return GridWeights(module, {name: bits[name] for name in roundings}, steps, precision)


def folded_steps(
    module: fx.GraphModule, folded: fx.GraphModule, steps: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The steps of the folded weights, one per output channel: folding multiplied each channel by γ/σ."""
    result = {}
    for name, node in layer_nodes(folded):
        if name in steps:
            weight = str(argument(node, 1).target)
            before = get_tensor(module, weight).detach().flatten(1)
            after = get_tensor(folded, weight).detach().flatten(1)
            largest = before.abs().argmax(1, keepdim=True)
            below, above = before.gather(1, largest), after.gather(1, largest)
            factor = torch.where(below == 0, torch.ones_like(below), above / below)
            result[name] = steps[name] * factor.squeeze(1).abs()
    return result


def near_grid(original: Tensor, rounded: Tensor, step: Tensor) -> Tensor:
    """The weight nearest to `original` that rounds to `rounded` (out × …): where training starts."""
    margin = (MARGIN * step).reshape(-1, *[1] * (original.dim() - 1))
    return original.maximum(rounded - margin).minimum(rounded + margin)


def _on_grid(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    result: Tensor = _Round.apply(  # type: ignore[no-untyped-call]
        weight, step.reshape(-1, *[1] * (weight.dim() - 1)), *grid_limits(bits)
    )
    return result


class _Round(torch.autograd.Function):
    """round(clamp(w / s)) · s; the gradient passes to w inside the limits, and to s by equation 3."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, low: int, high: int) -> Tensor:
        scaled = weight / step
        ctx.save_for_backward(scaled)
        ctx.limits = (low, high)
        return scaled.clamp(low, high).round() * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (scaled,), (low, high), gradient = ctx.saved_tensors, ctx.limits, gradients[0]
        inside = (scaled > low) & (scaled < high)
        slope = torch.where(inside, scaled.round() - scaled, scaled.clamp(low, high))
        dims = tuple(range(1, scaled.dim()))
        share = 1 / (scaled[0].numel() * max(1, high)) ** 0.5
        return gradient * inside, (gradient * slope).sum(dims, keepdim=True) * share, None, None
