"""The numbers that describe a layer, or what stands between two, to a latency table: kernels, elements, multiplications.

Kernels work on whole vectors, so that multiplications are counted twice: as they are, and with channels rounded up to `VECTOR`.
On x86 float32 convolutions step at 16 channels and int8 ones at 4 to 16; the table learns which of the counts tells the time.
Places are the positions of an output: each costs something whatever its channels.
"""

from ..compress.layers import Layer
from ..compress.recipe import INTEGER, Precision

VECTOR = 16


def boundary_features(code: int, elements: float, *, is_sum: bool) -> dict[str, float]:
    """What happens to a tensor of so many elements (in 10⁴) between two layers, or at a residual sum between them.

    Bits of `code`: the next layer is int8; the one before is; and, at a sum, the first of its block. A sum runs in int8 when all
    three are; in float32 it is part of the kernel before it when that is float32, too.
    """
    after, before, first = code & 1, code >> 1 & 1, code >> 2 & 1
    counts: dict[str, int]
    if not is_sum:
        counts = {"quantize": after & ~before & 1, "dequantize": before & ~after & 1}
    else:
        whole = after & before & first
        counts = {
            "quantize": after - whole,
            "dequantize": (before + first) * (1 - whole),
            "int8 sum": whole,
            "float32 sum": before - whole,
            "fused sum": 1 - before,
        }
    found = {f"{name} kernel": float(count) for name, count in counts.items() if count}
    return found | {f"{name} elements": elements * count for name, count in counts.items() if count}


def kernel_class(precision: Precision) -> str:
    """Which kernels a precision runs: weights of fewer than 8 bits run those of int8."""
    return "int8" if precision in INTEGER else precision


def output_elements(layer: Layer) -> int:
    """Elements that the layer computes for one sample in the original model."""
    return layer.macs // max(1, layer.weight_numel // layer.weight_shape[layer.out_dim])


def layer_features(layer: Layer, out: int, into: int, kernels: str) -> dict[str, float]:
    """What a layer of these sizes (of its weight) is for its kernels; places and elements in 10⁴, multiplications in 10⁶."""
    kernel = layer.weight_numel // (layer.weight_shape[0] * layer.weight_shape[1])
    places = output_elements(layer) / layer.weight_shape[layer.out_dim]
    depthwise = layer.channels_in > layer.weight_shape[1 - layer.out_dim]
    kind = f"{kernels} {'depthwise' if depthwise else layer.kind}{' pointwise' if kernel == 1 and layer.kind == 'conv' else ''}"
    wide, deep = VECTOR * -(-out // VECTOR), VECTOR * -(-into // VECTOR)
    return {
        f"{kind} kernel": 1.0,
        f"{kind} places": 1e-4 * places,
        f"{kind} elements": 1e-4 * places * out,
        f"{kind} columns": 1e-4 * places * into * kernel,
        f"{kind} macs": 1e-6 * places * kernel * into * out,
        f"{kind} padded macs": 1e-6 * places * kernel * (into if depthwise else deep) * wide,
    }
