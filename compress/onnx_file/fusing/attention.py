"""Attention: softmax(scale · q · kᵀ + mask) · v of heads, as one `Attention` (ONNX opset 23).

Source: Vaswani et al., "Attention Is All You Need" (2017), equation 1; grouped queries: Ainslie et al., "GQA"
(2023).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ..writer import attribute_of
from .layout import swap
from .masks import HIDDEN, Hides, kind_of_mask
from .view import GraphView, Shape, axis_of

_RANK = 4  # batch × heads × tokens × numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operand:
    """A tensor of batch × heads × tokens × numbers, and what its numbers are multiplied with."""

    name: str
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """The product of queries and keys behind a softmax, its factor, and the mask, which is added or hides
    scores where it is true or false.
    """

    product: onnx.NodeProto
    factor: float
    mask: str | None
    hides: Hides


def fuse_attention(view: GraphView) -> int:
    """Writes each attention as one node; returns how many there were."""
    return sum(_fuse(view, softmax) for softmax in view.nodes("Softmax"))


def _fuse(view: GraphView, softmax: onnx.NodeProto) -> bool:
    shape, scores = view.shape(softmax.input[0]), _scores(view, softmax.input[0])
    weights, guarded = _guarded(view, softmax.output[0])
    mixed = [node for node in view.readers(weights) if node.op_type == "MatMul" and node.input[0] == weights]
    if shape is None or len(shape) != _RANK or axis_of(softmax, _RANK) != _RANK - 1 or len(mixed) != 1:
        return False
    if scores is None or (key := _transposed(view, scores.product.input[1])) is None:
        return False
    query, (value, output) = _scaled(view, scores.product.input[0]), (mixed[0].input[1], mixed[0].output[0])
    kind = "none" if scores.mask is None else kind_of_mask(view, scores.mask, scores.hides)
    if not _fit(view, query.name, key.name, value) or (kind == "other" and scores.hides != "by sum"):
        return False
    other = _whole_mask(view, str(scores.mask), shape) if kind == "other" else None
    if kind == "other" and other is None:
        return False
    inputs = [query.name, *_ungrouped(view, key.name, value), *([] if other is None else [other])]
    attributes: dict[str, Any] = {"is_causal": 1} if kind == "causal" else {}
    scale, width = scores.factor * query.factor * key.factor, float((view.shape(query.name) or ())[-1] or 0)
    if not math.isclose(scale, width**-0.5, rel_tol=1e-6):
        attributes["scale"] = scale
    if not guarded or other is None:
        view.make("Attention", inputs, output, **attributes)
        return True
    result = view.make("Attention", inputs, shape=view.shape(output), **attributes)
    unseen = view.make("IsNaN", [result], shape=view.shape(output))
    view.make("Where", [unseen, view.constant(np.array(0, np.float32)), result], output)
    return True


def _guarded(view: GraphView, weights: str) -> tuple[str, bool]:
    """The weights with zeros where a token sees nothing, if the model does so, and whether it does."""
    checks = [node.output[0] for node in view.readers(weights) if node.op_type == "IsNaN"]
    for node in (reader for check in checks for reader in view.readers(check)):
        if node.op_type == "Where" and view.scalar(node.input[1]) == 0 and node.input[2] == weights:
            return node.output[0], True
    return weights, False


def _scores(view: GraphView, name: str) -> _Scores | None:
    """What a softmax is taken of; None where that is no product with a factor and a mask."""
    masked = view.maker(name, "Add", "Where")
    choices: list[tuple[str, str | None, Hides]] = [(name, None, "by sum")]
    if masked is not None and masked.op_type == "Add":
        first, second = masked.input
        choices = [(first, second, "by sum"), (second, first, "by sum")]
    elif masked is not None:
        mask, first, second = masked.input
        choices = [(first, mask, "where false")] if _is_low(view, second) else []
        choices += [(second, mask, "where true")] if _is_low(view, first) else []
    for scores, by, hides in choices:
        scaled = _scaled(view, scores)
        product = view.maker(scaled.name, "MatMul")
        if product is not None:
            return _Scores(product=product, factor=scaled.factor, mask=by, hides=hides)
    return None


def _is_low(view: GraphView, name: str) -> bool:
    """Whether a constant is so low a score that nothing is left of it."""
    value = view.scalar(name)
    return value is not None and value <= HIDDEN


def _scaled(view: GraphView, name: str) -> _Operand:
    """The tensor that is multiplied with, or divided by, constants before."""
    factor = 1.0
    while (node := view.maker(name, "Mul", "Div")) is not None:
        constant = view.scalar(node.input[1])
        if constant is None or (node.op_type == "Div" and constant == 0):
            break
        factor *= constant if node.op_type == "Mul" else 1 / constant
        name = node.input[0]
    return _Operand(name=name, factor=factor)


def _transposed(view: GraphView, name: str) -> _Operand | None:
    """The keys of which a tensor is the transpose of the last two dimensions; None where it is none."""
    scaled = _scaled(view, name)
    whole = view.shape(scaled.name)
    node = view.maker(scaled.name, "Transpose", "Reshape")
    if node is None or whole is None or len(whole) != _RANK:
        return None
    order = list(attribute_of(node, "perm", []))
    keys = None
    if node.op_type == "Reshape":
        keys = _folded_keys(view, node, whole)
    elif order == [0, 1, 3, 2]:
        keys = node.input[0]
    elif order == [0, 2, 3, 1]:
        shape = (whole[0], whole[1], whole[3], whole[2])
        keys = swap(view, node.input[0], shape=shape)
    if keys is None:
        return None
    inner = _scaled(view, keys)
    return _Operand(name=inner.name, factor=scaled.factor * inner.factor)


def _folded_keys(view: GraphView, node: onnx.NodeProto, whole: Shape) -> str | None:
    """The keys behind the exporter's form of a transpose: heads are folded into the batch, and unfolded."""
    turned = view.maker(node.input[0], "Transpose")
    folded = None if turned is None else view.maker(turned.input[0], "Reshape")
    if turned is None or folded is None or list(attribute_of(turned, "perm", [])) != [0, 2, 1]:
        return None
    shape, between = view.shape(folded.input[0]), view.shape(folded.output[0])
    if shape is None or between is None or len(shape) != _RANK or None in shape[1:]:
        return None
    same = shape[2:] == between[1:] and whole[1:] == (shape[1], shape[3], shape[2])
    return folded.input[0] if same else None


def _fit(view: GraphView, query: str, key: str, value: str) -> bool:
    """Whether these are queries, keys and values of as many heads, of known sizes."""
    shapes = [view.shape(name) for name in (query, key, value)]
    if any(shape is None or len(shape) != _RANK or shape[1] is None or shape[3] is None for shape in shapes):
        return False
    (q, k, v) = (shape for shape in shapes if shape is not None)
    return q[1] == k[1] == v[1] and q[3] == k[3] and k[2] == v[2]


def _ungrouped(view: GraphView, key: str, value: str) -> tuple[str, str]:
    """Keys and values before each head was repeated for a group of queries, if both were alike."""
    repeated = [_before_repeat(view, name) for name in (key, value)]
    shapes = [None if name is None else view.shape(name) for name in repeated]
    if None in repeated or shapes[0] is None or shapes[1] is None or shapes[0][1] != shapes[1][1]:
        return key, value
    return str(repeated[0]), str(repeated[1])


def _before_repeat(view: GraphView, name: str) -> str | None:
    """The heads of which a tensor has each several times, one behind the other; None where it has not."""
    merged = view.maker(name, "Reshape")
    spread = None if merged is None else view.maker(merged.input[0], "Expand")
    single = None if spread is None else view.maker(spread.input[0], "Unsqueeze")
    if spread is None or single is None or view.integers(single.input[1]) not in ([2], [-3]):
        return None
    before, wide, after = (view.shape(one) for one in (single.input[0], spread.output[0], name))
    if before is None or wide is None or after is None or (len(before), len(wide)) != (_RANK, _RANK + 1):
        return None
    heads, times = before[1], wide[2]
    kept = wide[1] == heads and wide[3:] == before[2:] == after[2:]
    if heads is None or times is None or None in before[1:] or not kept or after[1] != heads * times:
        return None
    return str(single.input[0])


def _whole_mask(view: GraphView, mask: str, scores: Shape) -> str | None:
    """The mask in a shape that the kernel takes: tokens × tokens behind dimensions of size 1, the batch's or
    the heads'; None where it has another.
    """
    shape, (rows, columns) = view.shape(mask), scores[-2:]
    if shape is None or rows is None or columns is None or not 2 <= len(shape) <= _RANK:
        return None
    if shape[-1] != columns or shape[-2] not in (1, rows):
        return None
    if shape[-2] == rows:
        return mask
    return view.make("Expand", [mask, view.constant(np.array([rows, 1]))], shape=(*shape[:-2], rows, columns))
