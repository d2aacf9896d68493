"""Modules that stand around another one and change nothing about its answers."""

from typing import cast

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel


def unwrapped(model: nn.Module) -> nn.Module:
    """The model without wrappers, around itself and around its parts. It is changed in place."""
    model = _inside(model)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            inner = _inside(child)
            if inner is not child:
                setattr(parent, name, inner)
    return model


def _inside(module: nn.Module) -> nn.Module:
    """The module itself, or what its wrappers hold."""
    while True:
        if isinstance(compiled := getattr(module, "_orig_mod", None), nn.Module):  # of torch.compile
            inner: object = compiled
        elif isinstance(module, DataParallel | DistributedDataParallel | AveragedModel):
            inner = module.module
        elif callable(merge := getattr(module, "merge_and_unload", None)):  # of peft: adds the adapters
            inner = merge()
        else:
            return module
        module = cast(nn.Module, inner)
