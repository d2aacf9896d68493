"""Where a model is, and what goes to it: batches however they are nested."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
CPU = torch.device("cpu")


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
