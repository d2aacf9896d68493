"""All passes over the file of a candidate."""

import onnx

from .attention import fuse_attention
from .causal import split_causal
from .layout import drop_same_shapes, drop_transposes
from .normalization import fuse_normalizations
from .rotary import fuse_rotary
from .view import GraphView

OPSET = 23  # the first with Attention and RMSNormalization


def fuse(model: onnx.ModelProto) -> int:
    """Joins what the runtime has one kernel for, in place; returns how many patterns were found.

    The operators of opset 21 and 22 mean the same in 23. A model without any of the patterns is not changed.
    """
    view = GraphView(model)
    count = fuse_normalizations(view) + fuse_rotary(view) + fuse_attention(view)
    if not count:
        return 0
    drop_same_shapes(view)
    drop_transposes(view)
    split_causal(view)
    view.finish()
    for entry in model.opset_import:
        if entry.domain == "":
            entry.version = max(entry.version, OPSET)
    return count
