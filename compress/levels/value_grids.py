"""Rounds weights to nearest: to fp8, to integers, and to 4 bits with one scale for each block of inputs.

fp8 is E4M3 without infinities: each output channel has a scale, and its largest magnitude becomes 448.

In block4 the weight is ŵ = scale · (q - 8), q in 0..15. The scale is signed, so that the value of the largest
magnitude gets the integer -8 (as in GGML's Q4_0). Scales are stored in float16.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from ..graph.graph import argument, get_tensor, layer_nodes, set_tensor
from ..recipe import BLOCK
from .reconstruct import grid_limits, optimal_scale

LARGEST_FP8 = 448.0
_SHRINKS = np.linspace(1.0, 0.7, 16)


def round_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight in torch.float8_e4m3fn, and the scale of each output channel (float32)."""
    scale = weight.abs().flatten(1).amax(1) / LARGEST_FP8
    scale = torch.where(scale > 0, scale, 1.0)
    shaped = scale.reshape(-1, *[1] * (weight.dim() - 1))
    return (weight / shaped).clamp(-LARGEST_FP8, LARGEST_FP8).to(torch.float8_e4m3fn), scale


def rounded_weight(weight: Tensor) -> Tensor:
    """The weight as fp8 has it, in float32."""
    values, scale = round_weight(weight)
    return values.float() * scale.reshape(-1, *[1] * (weight.dim() - 1))


def steps_of(weight: Tensor, bits: int, *, axis: int = 0) -> Tensor:
    """The step of each index along `axis` for rounding to nearest: 8 bits reach to the largest magnitude,
    fewer have the steps of least squared error.
    """
    rows = weight.movedim(axis, 0).flatten(1)
    if bits == 8:
        largest = rows.abs().amax(1)
        return torch.where(largest > 0, largest / 127, 1.0)
    return optimal_scale(rows.unsqueeze(0), rows.new_ones(1, rows.shape[1]), bits).squeeze(0)


def rounded_to_bits(weight: Tensor, bits: int, *, axis: int = 0) -> Tensor:
    """The weight rounded to nearest in so many bits, with one step for each index along `axis`."""
    step = steps_of(weight, bits, axis=axis).reshape(
        [-1 if dim == axis else 1 for dim in range(weight.dim())]
    )
    return (weight / step).round().clamp(*grid_limits(bits)) * step


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockQuantized:
    """A weight of `columns` inputs: `packed` uint8 rows × blocks × 16, low half first, `scales` float16 rows
    × blocks.
    """

    packed: np.ndarray
    scales: np.ndarray
    columns: int

    def dequantized(self) -> np.ndarray:
        """The weight that the integers stand for: float32, rows × columns."""
        integers = np.stack([self.packed & 15, self.packed >> 4], -1).reshape(*self.packed.shape[:2], BLOCK)
        values = (integers.astype(np.float32) - 8) * self.scales.astype(np.float32)[..., np.newaxis]
        return np.ascontiguousarray(values.reshape(len(values), -1)[:, : self.columns])


def quantize_blocks(weight: np.ndarray) -> BlockQuantized:
    """The blocks of a weight (rows × columns) with the scales of least squared error; zeros fill the last
    block.

    A dequantized weight gives the same blocks again: each has a value at -8, and the first scale that is
    tried restores it. ValueError if a scale is too large for float16.
    """
    rows, columns = weight.shape
    blocks = np.pad(weight.astype(np.float32), ((0, 0), (0, -columns % BLOCK))).reshape(rows, -1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., np.newaxis], -1).squeeze(-1)
    if np.abs(largest).max(initial=0) / 8 > np.finfo(np.float16).max:
        value = f"{np.abs(largest).max():.3g}"
        raise ValueError(f"a weight of {value} has no block4 scale in float16: keep the layer in float32")
    best = np.full(largest.shape, np.inf, np.float32)
    scales, integers = np.zeros(largest.shape, np.float16), np.zeros(blocks.shape, np.int8)
    for shrink in _SHRINKS:
        scale = (largest * np.float32(-shrink / 8)).astype(np.float16)
        step = scale.astype(np.float32)[..., np.newaxis]
        rounded = np.clip(np.rint(blocks / np.where(step == 0, np.float32(1), step)), -8, 7)
        error = np.square(rounded * step - blocks).sum(-1)
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
        integers = np.where(better[..., np.newaxis], rounded.astype(np.int8), integers)
    halves = (integers + 8).astype(np.uint8).reshape(rows, -1, BLOCK // 2, 2)
    return BlockQuantized(packed=halves[..., 0] | halves[..., 1] << 4, scales=scales, columns=columns)


def round_to_blocks(module: fx.GraphModule, layers: Collection[str]) -> dict[str, BlockQuantized]:
    """The blocks of the named linear layers; their weights in `module` become the dequantized ones."""
    blocks = {}
    for name, node in layer_nodes(module):
        if name in layers:
            weight = str(argument(node, 1).target)
            blocks[name] = quantize_blocks(get_tensor(module, weight).detach().numpy())
            set_tensor(module, weight, torch.from_numpy(blocks[name].dequantized()))
    return blocks
