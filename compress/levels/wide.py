"""Wide layers: weights with so many columns that moments of all pairs of inputs are too many.

Their number grows with the square of the columns, what is computed with them with the cube: a convolution
with 128 channels and 64 taps has 8,192 columns, and one level of it would take minutes. Above WIDE columns
the second moments are kept within blocks of whole input channels, and counted as zero between them:

    second    groups × columns × columns of a layer that is not wide, blocks × size × size of one that is

Here are the operations that are done block by block then. A layer that is not wide is one single part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..options import RoundingMethod
from .reconstruct import ROUNDINGS, compensated, optimal_scale, output_error

WIDE = 4096  # columns
BLOCK = 1024  # columns at most in a block, if the channels divide so
NUMBERS = 1 << 26  # of input vectors that are looked at together
MULTIPLICATIONS = 1 << 33  # for the second moments of one layer
LEAST_ROWS = 3  # vectors for each column that moments have in common
GROUPED_NUMBERS = 1 << 23  # of input vectors of all groups of a layer
LEAST_GROUPED = 1024  # vectors of a layer with groups


def block_count(channels: int, taps: int, groups: int = 1) -> int:
    """Into how many blocks the columns of a layer with so many input channels (of each group) are split."""
    if groups > 1 or channels * taps <= WIDE:
        return 1
    fitting = (n for n in range(2, channels) if channels % n == 0 and channels // n * taps <= BLOCK)
    return next(fitting, channels)


def blocks_of(weight: Tensor, groups: int) -> int:
    """The same for a weight, out × in × …"""
    return block_count(weight.shape[1], weight[0, 0].numel(), groups)


def affordable_rows(rows: int, columns: int) -> int:
    """`rows` vectors of so many columns, or as many as fit into NUMBERS."""
    return min(rows, max(1, NUMBERS // columns))


def rows_for_moments(columns: int, blocks: int, groups: int = 1) -> int:
    """How many vectors of so many columns the second moments of a layer are made of.

    As many as MULTIPLICATIONS allow. A layer with many columns has fewer, but enough that its moments have
    full rank: 2,304 columns (256 channels × 9 taps) 6,912 vectors, 576 columns 25,890.

    Each group of a depthwise layer has 9 columns of its own, for which few vectors are enough; to look at as
    many of all groups as another layer has was most of the work of a network with such layers.
    """
    size = columns // blocks
    rows = max(LEAST_ROWS * size, MULTIPLICATIONS // (columns * size))
    return rows if groups == 1 else min(rows, max(LEAST_GROUPED, GROUPED_NUMBERS // (columns * groups)))


def second_sum(vectors: Tensor, blocks: int) -> Tensor:
    """Σ x xᵀ of groups × rows × columns: groups × columns × columns, or blocks × size × size."""
    if blocks > 1:
        vectors = vectors[0].reshape(vectors.shape[1], blocks, -1).transpose(0, 1)
    return vectors.mT @ vectors


@dataclass(frozen=True, slots=True)
class Part:
    """Columns whose second moments are there together: all, or those of a block. `columns` are indices in it
    of the ones that remain.
    """

    whole: slice
    columns: Tensor
    second: Tensor

    @property
    def second_left(self) -> Tensor:
        """The moments of the columns that remain."""
        return self.second[:, self.columns][:, :, self.columns]


def parts_of(second: Tensor, columns: Tensor, total: int) -> list[Part]:
    """The parts of a layer with `total` columns, of which `columns` (rising indices) remain."""
    size = second.shape[-1]
    if size == total:
        return [Part(slice(None), columns, second)]
    parts = []
    for index, block in enumerate(second):
        start = index * size
        inside = columns[(columns >= start) & (columns < start + size)]
        parts.append(Part(slice(start, start + size), inside - start, block[None]))
    return parts


def compensated_parts(weight: Tensor, parts: Sequence[Part]) -> Tensor:
    """`compensated` in each part: groups × rows × remaining columns."""
    pieces = [compensated(weight[..., part.whole], part.second, part.columns) for part in parts]
    return torch.cat(pieces, -1)


def rounded_parts(
    weight: Tensor, seconds: Sequence[Tensor], bits: int, method: RoundingMethod
) -> tuple[Tensor, Tensor]:
    """The integers of a weight (groups × rows × columns) and the step of each row; `seconds` are the moments
    of each part of the columns.
    """
    diagonal = torch.cat([second.diagonal(dim1=-2, dim2=-1) for second in seconds], -1)
    step = optimal_scale(weight, diagonal, bits)
    pieces = torch.split(weight, [second.shape[-1] for second in seconds], dim=-1)
    rounded = [
        ROUNDINGS[method](piece, second, step, bits) for piece, second in zip(pieces, seconds, strict=True)
    ]
    return torch.cat(rounded, -1), step


def error_of(change: Tensor, second: Tensor) -> float:
    """The squared output error of a change of the weight, groups × rows × columns."""
    total = change.shape[-1]
    parts = parts_of(second, torch.arange(total, device=second.device), total)
    return sum(output_error(change[..., part.whole], part.second) for part in parts)


def dense(second: Tensor, total: int) -> Tensor:
    """The second moments with the zeros between blocks."""
    if second.shape[-1] == total:
        return second
    whole = second.new_zeros(1, total, total)
    for part in parts_of(second, torch.arange(total, device=second.device), total):
        whole[:, part.whole, part.whole] = part.second
    return whole
