"""Where a training computes: a student and its grid move to a device and back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import fx

from ....tasks.plain.devices import CPU
from ...graph.devices import move
from .fake_quantize import GridWeights

FREE_SHARE = 0.8  # of what is free on a GPU, for the step of a training


@contextmanager
def computing_on(device: torch.device, student: fx.GraphModule, grid: GridWeights) -> Iterator[torch.device]:
    """A block in which a student and its grid are on the device, which it yields; they are on the CPU behind
    it.
    """
    if device == CPU:
        yield device
        return
    try:
        move(student, device)
        grid.move(device)
        yield device
    finally:
        move(student, CPU)
        grid.move(CPU)


def gpus(device: torch.device) -> list[torch.device]:
    """The device, where it is a GPU, for what keeps the state of its random numbers."""
    return [device] if device.type == "cuda" and torch.cuda.is_available() else []


def step_bytes(device: torch.device, memory_bytes: int | None) -> int | None:
    """What a training step may take: `memory_bytes` on the CPU, a share of what is free on a GPU."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return memory_bytes
    torch.cuda.empty_cache()  # what the work before left there counts as free
    return int(FREE_SHARE * torch.cuda.mem_get_info(device)[0])
