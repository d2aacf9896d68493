"""The time of each layer, from the kernel times that ONNX Runtime's profiler tells."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import onnx

# Operators that the runtime fuses with the layer before them; the fused kernel is then named after their
# result.
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"})
_BLOCKED = "_nchwc"  # a float32 convolution in the blocked layout: its output's name, and this


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTimes:
    """Seconds of one inference by layer and in everything else (sums, pooling, conversions), as a profiler
    sees them.

    The profiler makes every kernel slower, short ones the most: these are shares of the work, not a latency.
    """

    layers: Mapping[str, float]
    other_s: float


def layer_times(kernels: Mapping[str, float], model: onnx.ModelProto, layers: Iterable[str]) -> LayerTimes:
    """The seconds of kernels summed up by the layer that each computes; a layer that no kernel is named after
    is left out.

    Nodes of the project's artifacts are named after their layers, and the runtime keeps the name in that of
    the kernel: `conv1`, `conv1_token_7`, `fused conv1`, `fc/MatMulAddFusion`; or it names it after its
    output: `_4_nchwc`.
    """
    layer_named = layer_matcher(layers)
    producers = _producers(model)
    found: dict[str, float] = {}
    other_s = 0.0
    for kernel, seconds in kernels.items():
        blocked = kernel.endswith(_BLOCKED)
        layer = layer_named(producers.get(kernel.removesuffix(_BLOCKED), "") if blocked else kernel)
        if layer is None:
            other_s += seconds
        else:
            found[layer] = found.get(layer, 0.0) + seconds
    return LayerTimes(layers=found, other_s=other_s)


def layer_matcher(layers: Iterable[str]) -> Callable[[str], str | None]:
    """A function from the name of a node or kernel to the layer that it is named after, None if it is none."""
    names = sorted(layers, key=len, reverse=True)  # the longest first: `fc_2` is not a kernel of `fc`
    patterns = {name: re.compile(rf"(fused )?{re.escape(name)}(?![A-Za-z0-9])") for name in names}
    return lambda text: next((name for name, pattern in patterns.items() if pattern.match(text)), None)


def _producers(model: onnx.ModelProto) -> dict[str, str]:
    """By tensor, the name of the node that makes it, activations behind a named node included."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        name = node.name or (found.get(node.input[0], "") if node.op_type in _ACTIVATIONS else "")
        found |= dict.fromkeys(node.output, name)
    return found
