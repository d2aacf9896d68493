"""Causal attention in blocks of queries: each block meets only the keys that it may see.

A kernel computes all tokens × tokens scores and hides those above the diagonal. In n blocks of queries it
computes (n + 1) / 2n of them: 5 / 8 for four. The mask is made of two constants when a session loads.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..writer import attribute_of
from .view import GraphView

BLOCKS = (4, 3, 2)  # the first that divides the tokens is taken
_LEAST = 32  # tokens in a block: below, starting more kernels costs what fewer scores save


def split_causal(view: GraphView) -> int:
    """Splits each causal attention whose number of tokens is known; returns how many."""
    return sum(_split(view, node) for node in view.nodes("Attention"))


def _split(view: GraphView, node: onnx.NodeProto) -> bool:
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    shapes = [view.shape(name) for name in node.input[:3]]
    if not attribute_of(node, "is_causal", 0) or any(shape is None or len(shape) != 3 for shape in shapes):
        return False
    tokens = (shapes[0] or ())[1]
    blocks = next((n for n in BLOCKS if tokens and tokens % n == 0 and tokens // n >= _LEAST), 0)
    if tokens is None or not blocks:
        return False
    query, key, value = node.input[:3]
    size, output = tokens // blocks, node.output[0]
    split = view.constant(np.full(blocks, size, np.int64))
    queries = view.make_several("Split", [query, split], blocks, axis=1)
    parts = [view.make("Attention", [queries[0], *_seen(view, (key, value), size)], **attributes)]
    del attributes["is_causal"]
    for block in range(1, blocks):
        seen = (block + 1) * size
        keys, values = _seen(view, (key, value), seen) if seen < tokens else (key, value)
        mask = _mask(view, size, tokens, seen)
        parts.append(view.make("Attention", [queries[block], keys, values, mask], **attributes))
    view.make("Concat", parts, output, axis=1)
    return True


def _seen(view: GraphView, names: tuple[str, str], seen: int) -> tuple[str, str]:
    """The first tokens of keys and values."""
    first, last, axis = (view.constant(np.array([number])) for number in (0, seen, 1))
    keys, values = (view.make("Slice", [name, first, last, axis]) for name in names)
    return keys, values


def _mask(view: GraphView, size: int, tokens: int, seen: int) -> str:
    """What hides the tokens behind each of the last `size` of `seen` ones: size × seen."""
    key = f"causal mask {size} {tokens}"
    if key not in view.known:
        hidden = helper.make_tensor("value", TensorProto.FLOAT, [1], [-np.inf])
        every = view.make("ConstantOfShape", [view.constant(np.array([size, tokens]))], value=hidden)
        above = view.constant(np.array(tokens - size + 1))
        view.known[key] = view.make("Trilu", [every, above], upper=1)
    if seen == tokens:
        return view.known[key]
    part = f"{key} {seen}"
    if part not in view.known:
        first, last, axis = (view.constant(np.array([number])) for number in (tokens - seen, tokens, 1))
        view.known[part] = view.make("Slice", [view.known[key], first, last, axis])
    return view.known[part]
