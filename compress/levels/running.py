"""How graphs run fastest on the processor: the layout of images, and the arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ...tasks.plain.devices import CPU, full_precision


def channels_last(x: Tensor) -> Tensor:
    """Images in the layout that the kernels want; other tensors unchanged."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


@contextmanager
def mixed_precision(*, wanted: bool = True, device: torch.device = CPU) -> Iterator[None]:
    """A block with bfloat16 arithmetic where it is wanted and the processor has instructions for it; else
    with float32.
    """
    if wanted and has_bfloat16(device):
        with torch.autocast(device.type, torch.bfloat16):
            yield
    else:
        with torch.autocast("cpu", torch.bfloat16, enabled=False), full_precision(device):
            yield


def has_bfloat16(device: torch.device = CPU) -> bool:
    """Whether the processor has instructions for bfloat16, or the GPU."""
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
