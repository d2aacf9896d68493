"""Grids of activations: what a tensor's values are on calibration samples, and the scale that suits them.

A range that reaches to the largest value spends its 255 steps on outliers. `Observed.scale` tries shorter
ones, and takes that with the least mean cubed error of the rounded values: where nothing is gained it reaches
to the ends. Zero is always inside. Squares cut too much, since the few large values carry more than the many
small ones: docs/compression.md has the comparison.

Source: Nahshan et al., "Loss Aware Post-training Quantization" (2020), section 4, where the power that is
best for a network lies between 2 and 4; by search over a sample of the values.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ...tasks.plain.devices import device_of, full_precision, on
from ..options import Activations

SAMPLE = 8192  # values of a tensor and batch that are looked at
POWER = 3
SHORTEST = 0.3  # of a range that is tried
PART = 1 << 17  # values that are rounded at once
TRIED = 29  # shares of each end, from 1 to SHORTEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Affine quantization: x ≈ scale · (q - zero_point), q in 0..255, or in -128..127 if `signed`."""

    scale: float
    zero_point: int
    signed: bool = False

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and largest q."""
        return (-128, 127) if self.signed else (0, 255)

    def rounded(self, x: Tensor) -> Tensor:
        """The values that the integers of `x` stand for, computed in float32, in the type that it had.

        The same numbers as torch.fake_quantize_per_tensor_affine gives, in a twentieth of its time on a CPU:
        in parts that stay in the processor's cache.
        """
        if x.device.type != "cpu":
            return self._rounded(x).to(x.dtype)
        dense = x if _fills_its_memory(x) else x.contiguous()
        result = torch.empty_like(dense)
        parts = zip(_in_memory_order(dense), _in_memory_order(result), strict=True)
        for part, place in parts:
            place.copy_(self._rounded(part))
        return result

    def _rounded(self, x: Tensor) -> Tensor:
        low, high = (limit - self.zero_point for limit in self.limits)
        inverse = float(np.float32(1) / np.float32(self.scale))
        return (x.float() * inverse).round_().clamp_(low, high).mul_(self.scale)


def _fills_its_memory(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _in_memory_order(x: Tensor) -> tuple[Tensor, ...]:
    """Views of a tensor that fills its memory, one after the other."""
    return torch.split(x.as_strided((x.numel(),), (1,)), PART)


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """The smallest and largest value of a tensor of so many, and some of them."""

    low: float
    high: float
    count: int
    values: Tensor
    _scales: dict[Activations, Scale] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, tensor: Tensor) -> "Observed":
        """What one batch shows."""
        values = tensor.detach()
        if _fills_its_memory(values):  # channels_last in another order takes sixteen times as long
            values = values.as_strided((values.numel(),), (1,))
        smallest, largest = map(float, torch.aminmax(values))
        return cls(min(0.0, smallest), max(0.0, largest), tensor.numel(), _some(tensor))

    def joined(self, other: "Observed") -> "Observed":
        """With what another batch shows."""
        values = torch.cat([self.values, other.values])
        count = self.count + other.count
        return Observed(min(self.low, other.low), max(self.high, other.high), count, values)

    def scale(self, activations: Activations = "uint8-asymmetric") -> Scale:
        """The scale of least error. ValueError for values that are not finite."""
        if activations not in self._scales:
            low, _ = self._best([(self.low * share, self.high) for share in _shares(self.low)], activations)
            ends = self._best([(low, self.high * share) for share in _shares(self.high)], activations)
            self._scales[activations] = scale_of_range(*ends, activations)
        return self._scales[activations]

    def _best(self, ranges: list[tuple[float, float]], activations: Activations) -> tuple[float, float]:
        """The range of least error, of equals the first. Both ends count once: the sample may lack them."""
        extremes, errors = torch.tensor([self.low, self.high]), []
        for ends in ranges:
            scale = scale_of_range(*ends, activations)
            mean = (scale.rounded(self.values) - self.values).abs().pow(POWER).mean()
            cut = (scale.rounded(extremes) - extremes).abs().pow(POWER).sum() / self.count
            errors.append(float(mean + cut))
        return ranges[errors.index(min(errors))]


def _shares(end: float) -> list[float]:
    """The shares of an end of a range that are tried; an end at zero stays."""
    return np.linspace(1.0, SHORTEST, TRIED).tolist() if end else [1.0]


def _some(tensor: Tensor) -> Tensor:
    """Up to SAMPLE of the values, from all over, on the CPU."""
    values, step = tensor.detach(), max(1, tensor.numel() // SAMPLE)
    if values.is_contiguous():
        return values.flatten()[::step].float().clone().cpu()
    places = torch.arange(0, values.numel(), step, device=values.device)
    return values[torch.unravel_index(places, values.shape)].float().cpu()  # without a copy in another order


class _Observer(fx.Interpreter):
    """Runs a graph and observes the named nodes."""

    def __init__(self, module: fx.GraphModule, observed: dict[str, Observed | None]):
        super().__init__(module)
        self.observed = observed

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.observed:
            new, before = Observed.of(result), self.observed[n.name]
            if not np.isfinite(new.low) or not np.isfinite(new.high):
                raise ValueError(f"the values of {n.name} are not finite on the calibration set")
            self.observed[n.name] = new if before is None else before.joined(new)
        return result


def observe(
    module: fx.GraphModule, nodes: Iterable[str], inputs: Iterable[tuple[Tensor, ...]]
) -> dict[str, Observed]:
    """What the nodes' values are over all batches of `inputs`, which run where the module is."""
    observed: dict[str, Observed | None] = dict.fromkeys(nodes)
    observer, device = _Observer(module, observed), device_of(module)
    with torch.inference_mode(), full_precision(device):
        for batch in inputs:
            observer.run(*on(batch, device))
    return {name: Observed.of(torch.zeros(1)) if one is None else one for name, one in observed.items()}


def scale_of_range(low: float, high: float, activations: Activations = "uint8-asymmetric") -> Scale:
    """The scale of a range; raises ValueError for a range that is not finite."""
    low, high = min(low, 0.0), max(high, 0.0)
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueError(f"the activations' range is not finite: {low} to {high}")
    if activations == "int8-symmetric":
        return Scale(scale=float(np.float32(max(-low, high) / 127)) or 1.0, zero_point=0, signed=True)
    scale = float(np.float32((high - low) / 255)) or 1.0
    return Scale(scale=scale, zero_point=int(np.clip(round(-low / scale), 0, 255)))


def rounded_by_own_range(x: Tensor) -> Tensor:
    """The values that the integers of `x` stand for, whose range is its own; in the type that they had."""
    scale = scale_of_range(float(x.min()), float(x.max()))
    return scale.rounded(x)
