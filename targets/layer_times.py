"""The time of each layer, from the kernel times that the runtime's profiler tells."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTimes:
    """Seconds of one inference by layer and in everything else (sums, pooling, conversions), as a profiler
    sees them.

    The profiler makes every kernel slower, short ones the most: these are shares of the work, not a latency.
    """

    layers: Mapping[str, float]
    other_s: float


def layer_times(kernels: Mapping[str, float], layers: Iterable[str]) -> LayerTimes:
    """The seconds of kernels, by the node that each computes, summed up by layer; a layer that no node is
    named after is left out.
    """
    layer_of = layer_matcher(layers)
    by_layer: dict[str, float] = {}
    other_s = 0.0
    for node, seconds in kernels.items():
        layer = layer_of(node)
        if layer is None:
            other_s += seconds
        else:
            by_layer[layer] = by_layer.get(layer, 0.0) + seconds
    return LayerTimes(layers=by_layer, other_s=other_s)


def layer_matcher(layers: Iterable[str]) -> Callable[[str], str | None]:
    """A function from a node's name to the layer that it is named after, None if it is none.

    Nodes of the project's artifacts are named after their layers: `conv1`, `conv1_token_7`.
    """
    names = sorted(layers, key=len, reverse=True)  # the longest first: `fc_2` is not a node of `fc`
    patterns = {name: re.compile(rf"{re.escape(name)}(?![A-Za-z0-9])") for name in names}
    return lambda node: next((name for name, pattern in patterns.items() if pattern.match(node)), None)
