"""How many samples are looked at, and in which arithmetic, when a model's answers or statistics are compared.

Both follow from the model alone, so that no clock decides them. bfloat16 is fast, but rounds as coarsely as 8
bits do: a MobileNet with normalizations of very different scales answers as differently in it (a KL of 0.03)
as after its compression to 8 bits.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from ...tasks.plain.devices import device_of
from ..graph.graph import shape_of
from ..graph.network import Network
from ..levels.running import has_bfloat16
from ..recipe import Recipe
from .distance import Distance
from .normalization import AdaptedRun, inputs_by_name

LEAST = 64  # samples, however large the model
WORK = 30_000_000_000  # multiplications of all samples: about a second of one core
ELEMENT = 32  # multiplications in whose time a tensor's element is read and written
NOISE = 1e-3  # of a distance: a tenth of what the least drop that can be told shows


def samples_within(network: Network, count: int) -> int:
    """`count` samples, or as many as WORK allows, but LEAST."""
    return min(count, max(LEAST, WORK // _work(network)))


def _work(network: Network) -> int:
    """The multiplications of one sample, and the elements of all its tensors in what they cost."""
    nodes = [node for node in network.module.graph.nodes if node.op == "call_function"]
    shapes = [shape_of(node) for node in nodes if isinstance(node.meta.get("val"), Tensor)]
    elements = sum(math.prod(shape[1:]) for shape in shapes)
    return max(1, network.cost(Recipe()).macs + ELEMENT * elements)


def answers_the_same_in_bfloat16(
    module: fx.GraphModule, inputs: Sequence[Tensor], distance: Distance
) -> bool:
    """Whether bfloat16 changes the answers by less than NOISE; False where the processor, or the GPU
    where the module is, does not have it."""
    if not has_bfloat16(device_of(module)):
        return False
    values: dict[str, Any] = inputs_by_name(module, tuple(inputs))
    rough = AdaptedRun(module, {}, {})(dict(values))
    exact = AdaptedRun(module, {}, {}, mixed=False)(dict(values))
    return distance.value(rough, exact) < NOISE
