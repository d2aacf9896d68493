"""How graphs run fastest on the processor: the layout of images, and the arithmetic."""

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """Images in the layout that the CPU kernels want; other tensors unchanged."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def mixed_precision(*, wanted: bool = True) -> torch.autocast:
    """bfloat16 arithmetic where it is wanted and the processor has instructions for it."""
    enabled = wanted and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)
