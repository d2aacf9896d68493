"""What an engine's layers are, from the engine inspector's JSON, whose form differs by version.

8.5-10   "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format",
         "Weights": {"Type": "Int8"}
11, RTX  "Datatype": "Int8", "Format": "(NHWC) Channel major format", weights among "Constants"

"Metadata" names the ONNX nodes of a layer since 8.6: `[ONNX Layer: conv1]`; before, only the layer's name
does: `conv1 + relu1`.
"""

from __future__ import annotations

import math
import re
from typing import Any, Sequence

# By precedence: "BF16" holds "F16", and FP8 is told as "E4M3" by some.
_PRECISIONS = (
    ("fp8", r"fp8|float8|e4m3|e5m2"),
    ("int8", r"int8"),
    ("bfloat16", r"bf16|bfloat"),
    ("float16", r"fp16|half|float16"),
    ("float32", r"fp32|float"),
)
_COMPUTING = re.compile(
    r"conv|correlation|gemm|matmul|matrixmul|fullyconnected|matrix_multiply", re.IGNORECASE
)
_MOVING = re.compile(r"reformat|noop|no-op|constant|shuffle|signal|wait|copy", re.IGNORECASE)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def layer_precisions(layers: Sequence[Any]) -> dict[str, str]:
    """By ONNX node, the precision that it runs in: float32, float16, bfloat16, int8 or fp8.

    Of several layers that a node is in, the one that computes counts (a convolution, a product), not those
    that move data. A node whose layer tells no type is left out.
    """
    ranked: dict[str, tuple[int, str]] = {}
    for layer in layers:
        if isinstance(layer, str):  # names only: the engine was not built with detailed verbosity
            continue
        precision = precision_of(layer)
        rank = layer_rank(layer)
        if precision is not None and rank:
            for node in onnx_nodes(layer):
                if node not in ranked or rank > ranked[node][0]:
                    ranked[node] = (rank, precision)
    return {node: precision for node, (_, precision) in ranked.items()}


def precision_of(layer: Any) -> str | None:
    """What the layer computes in: the type of its weights, or of its first input where it has none; None if
    neither is told.

    The first input of a fused layer may be the other branch of a sum. Weights of 8 bits count only beside an
    input of that type: otherwise they are merely stored in it.
    """
    inputs = [_named(_type(tensor)) for tensor in _tensors(layer, "Inputs")]
    first = inputs[0] if inputs else None
    weights = _named(_weight_type(layer))
    stored = weights in ("int8", "fp8") and any(inputs) and weights not in inputs
    return first if weights is None or stored else weights


def _weight_type(layer: Any) -> str:
    """The type of a layer's weights as the inspector writes it; of constants the largest is taken for
    them.
    """
    if layer.get("Weights"):
        return str(layer["Weights"].get("Type", ""))
    constants = _tensors(layer, "Constants")
    sizes = [(math.prod(tensor.get("Dimensions") or [1]), _type(tensor)) for tensor in constants]
    size, kind = max(sizes, default=(0, ""))
    return kind if size > 1 else ""


def _tensors(layer: Any, key: str) -> list[Any]:
    return [tensor for tensor in layer.get(key) or [] if isinstance(tensor, dict)]


def _type(tensor: Any) -> str:
    """The value of `Datatype` or `Format/Datatype`, which is spelled `DataType` by some versions."""
    return next(
        (str(value) for key, value in tensor.items() if key.lower() in ("datatype", "format/datatype")), ""
    )


def _named(text: str) -> str | None:
    return next((name for name, pattern in _PRECISIONS if re.search(pattern, text, re.IGNORECASE)), None)


def layer_rank(layer: Any) -> int:
    """2 for a layer that multiplies, 0 for one that only moves data, 1 for others."""
    kind = str(layer.get("LayerType", ""))
    if _MOVING.search(kind):
        return 0
    return 2 if _COMPUTING.search(kind) or layer.get("Weights") else 1


def onnx_nodes(layer: Any) -> list[str]:
    """The names of the ONNX nodes that the layer stands for."""
    named = _NODE.findall(str(layer.get("Metadata", "")))
    return named or [part.strip() for part in str(layer.get("Name", "")).split(" + ")]


def kernel_names(layers: Sequence[Any]) -> dict[str, str]:
    """By the engine's name of a layer, that of the node it stands for: the first that is in no earlier name's
    place.
    """
    ranked = [layer for layer in layers if isinstance(layer, dict) and layer_rank(layer)]
    return {str(layer["Name"]): next(iter(onnx_nodes(layer)), str(layer["Name"])) for layer in ranked}
