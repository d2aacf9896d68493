"""Whether the tensors of a checkpoint are those of a model: names, shapes, types, numbers."""

from collections.abc import Mapping, Set

import torch
from torch import Tensor

from .quality import shape_text

_SHOWN = 3
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def mismatches(
    wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], *, parameters: Set[str]
) -> list[str]:
    """A phrase for each kind of tensor that does not fit, with its first names: missing, unexpected, of
    another shape, of another type, and not numbers.

    A tensor has the type of the model's, or is one of floats whose values the model's type holds exactly.
    Only `parameters` must be finite: a buffer may be a mask of infinities.
    """
    kinds: dict[str, list[str]] = {
        "missing": [key for key in wanted if key not in given],
        "unexpected": [key for key in given if key not in wanted],
        "of another shape": [],
        "of another type": [],
        "with values that are no numbers": [],
        "more precise than the model": [],
    }
    for key, value in wanted.items():
        tensor = given.get(key)
        if tensor is None:
            continue
        if tensor.shape != value.shape:
            text = f"{key} is {shape_text(tensor)} instead of {shape_text(value)}"
            kinds["of another shape"].append(text)
        elif not _is_stored(tensor) or (
            tensor.dtype != value.dtype and {tensor.dtype, value.dtype} - _FLOATS
        ):
            kinds["of another type"].append(f"{key} is {_type(tensor)} instead of {_type(value)}")
        elif tensor.dtype in _FLOATS and _is_broken(tensor, infinite=key in parameters):
            kinds["with values that are no numbers"].append(key)
        elif not torch.equal(tensor.to(value.dtype).to(tensor.dtype), tensor) and tensor.dtype in _FLOATS:
            kinds["more precise than the model"].append(f"{key} is {_type(tensor)}, not {_type(value)}")
    return [f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in kinds.items() if keys]


def widened(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The tensors of another type than the model's as a phrase, empty if there are none."""
    keys = [key for key, value in wanted.items() if given[key].dtype != value.dtype]
    types = sorted({_type(given[key]) for key in keys})
    return f"{len(keys)} tensors are {' or '.join(types)} ({_listed(keys)})" if keys else ""


def _is_broken(tensor: Tensor, *, infinite: bool) -> bool:
    """Whether a value is no number, or with `infinite` not finite."""
    broken = ~torch.isfinite(tensor) if infinite else torch.isnan(tensor)
    return bool(broken.any())


def _type(tensor: Tensor) -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return name if _is_stored(tensor) else f"{name} without an array of values"


def _is_stored(tensor: Tensor) -> bool:
    """Whether each value is there: the tensor is not sparse, quantized or without any."""
    return tensor.layout == torch.strided and tensor.device.type != "meta" and not tensor.is_quantized


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", …" if len(keys) > _SHOWN else "")
