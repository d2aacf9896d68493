"""The numbers that describe a layer, or what stands between two, to a latency table: kernels, elements,
multiplications.

Kernels work on whole vectors, so that multiplications are counted twice: as they are, and with channels
rounded up to `VECTOR`. On x86 float32 convolutions step at 16 channels and int8 ones at 4 to 16; the table
learns which of the counts tells the time. Places are the positions of an output: each costs something
whatever its channels.
"""

from collections import Counter
from collections.abc import Mapping

from ...compress.graph.layers import Layer
from ...compress.recipe import DYNAMIC, INTEGER, SPARSE, STORED, Precision, executes_as

VECTOR = 16
STORED_KERNEL = "stored weight kernel"
FUSED_ATTENTION, FUSED_REST = "fused attention kernel", "fused rest kernel"  # what they save, below 0
_CHANGES: Mapping[tuple[str, str], str] = {("float32", "int8"): "quantize", ("int8", "float32"): "dequantize"}


def boundary_features(before: str, after: str, first: str | None, elements: float) -> dict[str, float]:
    """What happens to a tensor of so many elements (in 10⁴) between two layers, or at a residual sum between
    them.

    `before` and `after` are the tensor classes of the two; `first`, at a sum, that of the first layer of its
    block, None where there is no sum. A sum of three alike runs in their class; another one in float32, where
    it is part of the kernel before it if that is float32, too.
    """
    if first is None:
        changes = [(before, after)]
        sums = []
    elif before == after == first:
        changes = []
        sums = ["fused sum" if before == "float32" else f"{before} sum"]
    else:
        changes = [(before, "float32"), (first, "float32"), ("float32", after)]
        sums = ["fused sum" if before == "float32" else "float32 sum"]
    counts = Counter(
        [*sums, *(_CHANGES.get(pair, f"{pair[0]} to {pair[1]}") for pair in changes if pair[0] != pair[1])]
    )
    kernels = {f"{name} kernel": float(count) for name, count in counts.items()}
    return kernels | {f"{name} elements": elements * count for name, count in counts.items()}


def resize_features(elements: float) -> dict[str, float]:
    """A resize that makes so many elements (in 10⁴)."""
    return {"resize kernel": 1.0, "resize elements": elements}


def kernel_class(precision: Precision) -> Precision:
    """Which kernels a precision runs: weights of fewer than 8 bits run those of 8 bits; sparse ones have
    their own.
    """
    if precision in STORED:
        return "w8"
    return "int8" if precision in INTEGER - SPARSE else precision


def tensor_class(precision: Precision) -> Precision:
    """What a layer of this precision exchanges with its neighbours."""
    executed = executes_as(precision)
    return "float32" if executed == "block4" or precision in DYNAMIC else executed


def output_elements(layer: Layer) -> int:
    """Elements that the layer computes for one sample in the original model."""
    return layer.macs // max(1, layer.weight_numel // layer.weight_shape[layer.out_dim])


def layer_features(layer: Layer, out: int, into: int, kernels: Precision) -> dict[str, float]:
    """What a layer of these sizes (of its weight) is for its kernels; places and elements in 10⁴,
    multiplications in 10⁶.

    Weights that are only stored in fewer bits run float32 kernels; what that costs besides is a feature of
    its own.
    """
    if layer.kind == "embedding":
        elements = 1e-4 * layer.elements_in * out
        return {f"{kernels} embedding kernel": 1.0, f"{kernels} embedding elements": elements}
    if kernels in STORED:
        return layer_features(layer, out, into, "float32") | {STORED_KERNEL: 1.0}
    kernel = layer.weight_numel // (layer.weight_shape[0] * layer.weight_shape[1])
    places = output_elements(layer) / layer.weight_shape[layer.out_dim]
    depthwise = layer.channels_in > layer.weight_shape[1 - layer.out_dim]
    kind = f"{kernels} {'depthwise' if depthwise else layer.kind}"
    if kernel == 1 and layer.kind == "conv":
        kind += " pointwise"
    wide, deep = VECTOR * -(-out // VECTOR), VECTOR * -(-into // VECTOR)
    return {
        f"{kind} kernel": 1.0,
        f"{kind} places": 1e-4 * places,
        f"{kind} elements": 1e-4 * places * out,
        f"{kind} columns": 1e-4 * places * into * kernel,
        f"{kind} macs": 1e-6 * places * kernel * into * out,
        f"{kind} padded macs": 1e-6 * places * kernel * (into if depthwise else deep) * wide,
    }
