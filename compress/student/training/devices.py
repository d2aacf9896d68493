"""Where a training computes: models, their constants and batches move to a device and back.

A traced graph has its device in three places: parameters and buffers, tensors that it holds as constants, and
the arguments of operations that make tensors (`zeros(…, device=cpu)`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from ...graph.graph import clone, get_tensor, set_tensor
from ...levels.running import CPU
from ..fake_quantize import GridWeights

T = TypeVar("T")
FREE_SHARE = 0.8  # of what is free on a GPU, for the step of a training


def move(module: fx.GraphModule, device: torch.device) -> None:
    """Moves a traced model to the device, in place."""
    names = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    for name in names:
        tensor = get_tensor(module, name)
        if tensor.device != device:
            set_tensor(module, name, tensor.detach().to(device))
    for node in module.graph.nodes:
        if node.op == "get_attr" and str(node.target) not in names:
            path, _, leaf = str(node.target).rpartition(".")
            owner: nn.Module = module.get_submodule(path)
            value = getattr(owner, leaf)
            if isinstance(value, Tensor):
                setattr(owner, leaf, value.to(device))
        if node.kwargs.get("device") is not None:
            node.kwargs = {**node.kwargs, "device": device}
    module.recompile()


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


def on_device(module: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """The module on the device: itself, or a copy."""
    if device == device_of(module):
        return module
    copied = clone(module)
    move(copied, device)
    return copied


def gpus(device: torch.device) -> list[torch.device]:
    """The device, where it is a GPU, for what keeps the state of its random numbers."""
    return [device] if device.type == "cuda" and torch.cuda.is_available() else []


def on(value: T, device: torch.device) -> T:
    """The same tensors on the device, however they are nested; what is no tensor stays."""
    moved: Any = value
    if isinstance(value, Tensor):
        moved = value.to(device, non_blocking=True)
    elif isinstance(value, Mapping):
        moved = {key: on(part, device) for key, part in value.items()}
    elif isinstance(value, list | tuple):
        moved = type(value)(on(part, device) for part in value)
    made: T = moved
    return made


def device_of(module: nn.Module) -> torch.device:
    """Where the module's parameters are."""
    return next((parameter.device for parameter in module.parameters()), CPU)


def step_bytes(device: torch.device, memory_bytes: int | None) -> int | None:
    """What a training step may take: `memory_bytes` on the CPU, a share of what is free on a GPU."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return memory_bytes
    return int(FREE_SHARE * torch.cuda.mem_get_info(device)[0])
