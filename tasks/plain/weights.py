"""Weights that hooks or parametrizations make anew at each call become parameters with their values."""

import contextlib
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantizeBase, ObserverBase
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.prune import remove as remove_pruning

from ...errors import TaskError
from ..boundary import user_code

_HOOKS: dict[tuple[str, str], Callable[[nn.Module, str], object]] = {
    ("_g", "_v"): remove_weight_norm,
    ("_orig", "_u"): remove_spectral_norm,
    ("_orig", "_mask"): remove_pruning,
}
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.qat", "torch.ao.nn.intrinsic.qat")


def refuse_prepared(model: nn.Module) -> None:
    """Raises TaskError for models that are no trained float32 modules: quantized, scripted, not yet made."""
    for name, module in model.named_modules():
        place = (
            f"model has {type(module).__name__} at {name!r}"
            if name
            else f"model is a {type(module).__name__}"
        )
        if isinstance(module, torch.jit.ScriptModule):
            raise TaskError(
                f"{place}, a program of torch.jit, which cannot be changed: give the Python module that it "
                "was made from, with the same weights."
            )
        if isinstance(module, FakeQuantizeBase | ObserverBase) or _is_quantized(module):
            raise TaskError(
                f"{place}: it was prepared for quantization by torch. Give the float32 model, without "
                "prepare or convert: autocompress chooses the precisions itself."
            )
        if any(isinstance(one, UninitializedParameter) for one in module._parameters.values()):
            raise TaskError(f"{place}, whose shapes are not known yet: run the model once on an input.")


def _is_quantized(module: nn.Module) -> bool:
    return type(module).__module__.startswith(_QUANTIZED)


def make_weights_plain(model: nn.Module) -> None:
    """Resolves parametrizations, `weight_norm`, `spectral_norm` and pruning masks, in place.

    The model must be in eval mode: in training mode a spectral norm changes its estimate.
    """
    for module in list(model.modules()):
        name = type(module).__name__
        with user_code(f"Resolving the weights of {name}", remedy="Remove its parametrization first"):
            if parametrize.is_parametrized(module):
                _remove_parametrizations(module)
            _remove_hooks(module)


def _remove_parametrizations(module: nn.Module) -> None:
    """As torch's own function, which would change the class that a copied module shares with the user's."""
    names = list(cast(nn.ModuleDict, module.parametrizations))
    values = {name: cast(Tensor, getattr(module, name)) for name in names}
    module.__class__ = parametrize.type_before_parametrizations(module)
    originals = cast(nn.ModuleDict, module.parametrizations)
    del module.parametrizations
    for name, value in values.items():
        if any(True for _ in originals[name].parameters(recurse=False)):
            setattr(module, name, nn.Parameter(value.detach().clone(), requires_grad=value.requires_grad))
        else:
            module.register_buffer(name, value.detach().clone())


def _remove_hooks(module: nn.Module) -> None:
    """The older way: a hook before each call makes `weight`, of `weight_g` and `weight_v` for example."""
    names = {name for name, _ in module.named_parameters(recurse=False)}
    names |= {name for name, _ in module.named_buffers(recurse=False)}
    for suffixes, remove in _HOOKS.items():
        for name in sorted(names):
            stem = name.removesuffix(suffixes[0])
            if name != stem and f"{stem}{suffixes[1]}" in names:
                with contextlib.suppress(ValueError):  # names of another meaning: torch knows no hook there
                    remove(module, stem)
