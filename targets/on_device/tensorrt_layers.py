"""What an engine's layers are, from the engine inspector's JSON, whose form differs by version.

8.5-10   "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format", "Weights": {"Type": "Int8"}
11, RTX  "Datatype": "Int8", "Format": "(NHWC) Channel major format", weights among "Constants"
"Metadata" names the ONNX nodes of a layer since 8.6: `[ONNX Layer: conv1]`; before, only the layer's name does: `conv1 + relu1`.
"""

from __future__ import annotations

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
_COMPUTING = re.compile(r"conv|correlation|gemm|matmul|matrixmul|fullyconnected|matrix_multiply", re.IGNORECASE)
_MOVING = re.compile(r"reformat|noop|no-op|constant|shuffle|signal|wait|copy", re.IGNORECASE)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def layer_precisions(layers: Sequence[Any]) -> dict[str, str]:
    """By ONNX node, the precision that it runs in: float32, float16, bfloat16, int8 or fp8.

    Of several layers that a node is in, the one that computes counts (a convolution, a product), not those that move data.
    A node whose layer tells no type is left out.
    """
    found: dict[str, tuple[int, str]] = {}
    for layer in layers:
        if isinstance(layer, str):  # names only: the engine was not built with detailed verbosity
            continue
        precision = precision_of(layer)
        rank = layer_rank(layer)
        if precision is not None and rank:
            for node in onnx_nodes(layer):
                if node not in found or rank > found[node][0]:
                    found[node] = (rank, precision)
    return {node: precision for node, (_, precision) in found.items()}


def precision_of(layer: Any) -> str | None:
    """The type of the layer's data input, or of its weights where that tells none; None if neither does."""
    inputs = [item for item in layer.get("Inputs") or [] if isinstance(item, dict)]
    texts = [str(item.get("Datatype") or item.get("Format/Datatype") or "") for item in inputs[:1]]
    texts.append(str((layer.get("Weights") or {}).get("Type", "")))
    for text in texts:
        for name, pattern in _PRECISIONS:
            if re.search(pattern, text, re.IGNORECASE):
                return name
    return None


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
    """By the engine's name of a layer, that of the node it stands for: the first that is in no earlier name's place."""
    ranked = [layer for layer in layers if isinstance(layer, dict) and layer_rank(layer)]
    return {str(layer["Name"]): next(iter(onnx_nodes(layer)), str(layer["Name"])) for layer in ranked}
