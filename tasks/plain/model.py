"""A plain copy of the user's model: nothing that is done with it reaches the user's own."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ..boundary import user_code
from .weights import make_weights_plain, refuse_prepared
from .wrappers import unwrapped


def plain_model(model: nn.Module) -> nn.Module:
    """A copy in eval mode, without wrappers, its weights plain parameters. Raises TaskError.

    The names of parameters are those of the model inside the wrappers: `conv.weight`.
    """
    refuse_prepared(model)
    with user_code("Copying the model", remedy="Keep what cannot be copied out of the model's attributes"):
        copied = copied_model(model).eval()
    with user_code("Taking the wrappers off the model", remedy="Give the model inside"):
        plain = unwrapped(copied).eval()
    make_weights_plain(plain)
    return plain


def copied_model(model: nn.Module) -> nn.Module:
    """A deep copy. Weights that the old `weight_norm` left behind have a gradient; their copies none."""
    memo = {id(tensor): tensor.detach().clone() for tensor in _computed_tensors(model)}
    with warnings.catch_warnings():  # torch warns of its own deprecated check when it copies a graph
        warnings.simplefilter("ignore", FutureWarning)
        return copy.deepcopy(model, memo)


def _computed_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that are neither parameters nor plain values: torch refuses to copy them."""
    for module in model.modules():
        for value in vars(module).values():
            for tensor in _tensors(value):
                if not tensor.is_leaf or tensor.is_inference():
                    yield tensor


def _tensors(value: Any) -> Iterator[Tensor]:
    """A tensor, or those directly in a list or dictionary."""
    inside = value.values() if isinstance(value, dict) else value
    for one in inside if isinstance(value, list | tuple | dict) else [value]:
        if isinstance(one, Tensor):
            yield one
