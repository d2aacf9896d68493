"""Numbers in a graph that bfloat16 cannot hold become the largest that it can.

Models forbid places with the smallest float32. Recovery and refitting compute in bfloat16, where torch
refuses it, or takes it for -inf: then the softmax of a row that is forbidden as a whole is NaN.
"""

import math
from typing import Any

import torch
from torch import fx

_LARGEST = torch.finfo(torch.bfloat16).max


def bound_numbers(module: fx.GraphModule) -> None:
    """Bounds the finite numbers among the arguments of all operations, in place."""
    for node in module.graph.nodes:
        node.args = tuple(map(_bounded, node.args))
        node.kwargs = {name: _bounded(value) for name, value in node.kwargs.items()}
    module.recompile()


def _bounded(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return max(-_LARGEST, min(value, _LARGEST))
    return value
