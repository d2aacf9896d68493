"""Where a model is, what goes to it (batches however they are nested), and how exactly it computes there."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
CPU = torch.device("cpu")


def on(value: T, device: torch.device) -> T:
    """The same tensors on the device, however they are nested; what is no tensor stays.

    The copy may still be on its way to a GPU, whose work waits for it; one to the CPU is there.
    """
    moved: Any = value
    if isinstance(value, Tensor):
        moved = value.to(device, non_blocking=device != CPU)
    elif isinstance(value, Mapping):
        moved = {key: on(part, device) for key, part in value.items()}
    elif isinstance(value, list | tuple):
        moved = type(value)(on(part, device) for part in value)
    made: T = moved
    return made


def device_of(module: nn.Module) -> torch.device:
    """Where the module's parameters are."""
    return next((parameter.device for parameter in module.parameters()), CPU)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """A block in which float32 is float32: convolutions of a GPU would round to 10 bits of it (TF32)."""
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    limit = cudnn.benchmark_limit
    with cudnn.flags(cudnn.enabled, cudnn.benchmark, limit, cudnn.deterministic, allow_tf32=False):
        yield


def copied_to(device: torch.device, model: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """A copy of a model on the device; the model itself where it is, or if it does not run there on inputs
    that it takes on the CPU: it may make tensors of its own there.
    """
    if device == device_of(model):
        return model
    try:
        copied = copy.deepcopy(model).to(device)
        with torch.inference_mode():
            copied(*on(inputs, device))
    except (RuntimeError, TypeError, ValueError):
        return model
    return copied
