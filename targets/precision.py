"""The precision in which each layer really runs, from what the runtime reports by node.

A runtime that reports nothing writes the graph that it optimized, and has a graph.py that reads it.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from ..compress.recipe import Precision
from .layer_times import layer_matcher

_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}


def reported_precision(nodes: Mapping[str, str], layers: Iterable[str]) -> dict[str, Precision]:
    """By layer name, the precision of the ONNX nodes that are named after it, as the runtime reports them by
    node name.

    Of a layer that is called several times in different precisions, the widest counts. `bfloat16` may be
    among them, which no recipe can ask for. A layer is left out if none of its nodes is reported.
    """
    layer_of = layer_matcher(layers)
    precisions: dict[str, str] = {}
    for node, precision in nodes.items():
        layer = layer_of(node)
        if layer is not None and (layer not in precisions or _width(precision) > _width(precisions[layer])):
            precisions[layer] = precision
    return cast(dict[str, Precision], precisions)


def _width(precision: str) -> int:
    """Bits of a reported precision: of two with equally many, either may stand for both."""
    return _BITS.get(precision, 8)
