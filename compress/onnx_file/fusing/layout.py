"""Attention without the transposes around it: it takes batch × tokens × (heads · numbers) as well."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ..writer import attribute_of
from .view import GraphView, Shape

_RANK = 4
_SWAP = [0, 2, 1, 3]  # batch × heads × tokens × numbers to batch × tokens × heads × numbers, and back


def merged_heads(view: GraphView, name: str) -> str:
    """A tensor of batch × tokens × heads × numbers as batch × tokens × (heads · numbers): what it was made
    of, or a new tensor.
    """
    shape = view.shape(name)
    assert shape is not None
    whole = (shape[0], shape[1], int(shape[2] or 0) * int(shape[3] or 0))
    split = view.maker(name, "Reshape")
    source = None if split is None else view.shape(split.input[0])
    if split is not None and source is not None and len(source) == 3 and source[1:] == whole[1:]:
        return str(split.input[0])
    return view.make("Reshape", [name, view.constant(np.array([0, 0, -1]))], shape=whole)


def split_heads(view: GraphView, name: str, shape: Shape, output: str = "") -> str:
    """A tensor of batch × tokens × (heads · numbers) as batch × tokens × heads × numbers."""
    return view.make("Reshape", [name, view.constant(np.array([0, 0, *shape[2:]]))], output, shape=shape)


def swapped(view: GraphView, name: str) -> str | None:
    """The tensor of which this one is the transpose of heads and tokens; None where it is none."""
    node = view.maker(name, "Transpose")
    if node is None or list(attribute_of(node, "perm", [])) != _SWAP:
        return None
    shape = view.shape(node.input[0])
    known = shape is not None and len(shape) == _RANK and None not in shape[2:]
    return node.input[0] if known else None


def swap(view: GraphView, name: str, output: str = "", shape: Shape | None = None) -> str:
    """The transpose of heads and tokens."""
    return view.make("Transpose", [name], output, perm=_SWAP, shape=shape)


def drop_same_shapes(view: GraphView) -> None:
    """Drops each Reshape to the shape that a tensor has already."""
    outputs = {value.name for value in view.model.graph.output}
    for node in view.nodes("Reshape"):
        before, after = view.shape(node.input[0]), view.shape(node.output[0])
        if before is None or after is None or None in before[1:] or len(before) < 2:
            continue
        if before[1:] == after[1:] and node.output[0] not in outputs:
            _redirect(view, node.output[0], node.input[0])


def drop_transposes(view: GraphView) -> int:
    """Joins each attention with the transposes before and behind it; returns how many could be."""
    return sum(_drop(view, node) for node in view.nodes("Attention"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merged:
    """Queries, keys or values of batch × tokens × (heads · numbers)."""

    name: str
    tokens: int | None
    heads: int
    numbers: int


def _drop(view: GraphView, node: onnx.NodeProto) -> bool:
    found = [_merged(view, name) for name in node.input[:3]]
    operands = [one for one in found if one is not None]
    if len(operands) < 3:
        return False
    query, key, value = operands
    shape = (None, query.tokens, query.heads, value.numbers)
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    attributes |= {"q_num_heads": query.heads, "kv_num_heads": key.heads}
    inputs, output = [one.name for one in operands], node.output[0]
    whole = (None, query.tokens, query.heads * value.numbers)
    mixed = view.make("Attention", [*inputs, *node.input[3:]], shape=whole, **attributes)
    for reader in view.readers(output):
        _skip_transpose(view, reader, output, mixed)
    swap(view, split_heads(view, mixed, shape), output)  # dropped where nobody reads it any more
    return True


def _merged(view: GraphView, name: str) -> _Merged | None:
    """The tensor of which `name` is a transpose, or one of several packed ones; None where it is neither."""
    source = swapped(view, name)
    if source is not None:
        _, tokens, heads, numbers = view.shape(source) or (None,) * _RANK
        merged = merged_heads(view, source)
        return _Merged(name=merged, tokens=tokens, heads=int(heads or 0), numbers=int(numbers or 0))
    return _part_of_packed(view, name)


def _part_of_packed(view: GraphView, name: str) -> _Merged | None:
    """One of queries, keys and values that a single layer computes: batch × tokens × 3 × heads × numbers."""
    squeezed = view.maker(name, "Squeeze")
    part = None if squeezed is None else view.maker(squeezed.input[0], "Slice")
    turned = None if part is None else view.maker(part.input[0], "Transpose")
    packed = None if turned is None else view.maker(turned.input[0], "Reshape")
    if part is None or turned is None or packed is None or len(part.input) != 4:
        return None
    shape, before = view.shape(packed.output[0]), view.shape(packed.input[0])
    starts, ends, axes = (view.integers(one) for one in part.input[1:])
    if shape is None or before is None or None in shape[1:] or len(shape) != _RANK + 1 or len(before) != 3:
        return None
    _, tokens, count, heads, numbers = (int(size or 0) for size in shape)
    single = starts is not None and ends == [starts[0] + 1] and axes == [0]
    same = before[1:] == (tokens, count * heads * numbers)
    if list(attribute_of(turned, "perm", [])) != [2, 0, 3, 1, 4] or not (single and same):
        return None
    parts = f"parts of {packed.input[0]}"
    if f"{parts} 0" not in view.known:
        sizes = view.constant(np.full(count, heads * numbers, np.int64))
        for at, one in enumerate(view.make_several("Split", [packed.input[0], sizes], count, axis=2)):
            view.known[f"{parts} {at}"] = one
    which = view.known[f"{parts} {(starts or [0])[0]}"]
    return _Merged(name=which, tokens=tokens, heads=heads, numbers=numbers)


def _skip_transpose(view: GraphView, reader: onnx.NodeProto, before: str, mixed: str) -> None:
    """Makes what is transposed and merged behind an attention read `mixed`, which is so already.

    Between may stand a QuantizeLinear with one scale, which is then done first.
    """
    if (
        reader.op_type == "QuantizeLinear"
        and reader.input[0] == before
        and view.scalar(reader.input[1]) is not None
    ):
        turns = [node for node in view.readers(reader.output[0]) if swapped_by(node)]
        quantized = view.make("QuantizeLinear", [mixed, *reader.input[1:]]) if turns else mixed
    else:
        turns, quantized = [reader] if swapped_by(reader) else [], mixed
    for turn in turns:
        for merged in view.readers(turn.output[0]):
            shape = view.shape(merged.output[0])
            width = (view.shape(mixed) or (None,))[-1]
            if merged.op_type == "Reshape" and shape is not None and len(shape) == 3 and shape[-1] == width:
                _redirect(view, merged.output[0], quantized)


def swapped_by(node: onnx.NodeProto) -> bool:
    """Whether the node swaps heads and tokens."""
    return node.op_type == "Transpose" and list(attribute_of(node, "perm", [])) == _SWAP


def _redirect(view: GraphView, old: str, new: str) -> None:
    """Makes the readers of one tensor read another one."""
    if any(value.name == old for value in view.model.graph.output):
        view.make("Identity", [new], old)
        return
    for reader in view.readers(old):
        for position, name in enumerate(reader.input):
            if name == old:
                reader.input[position] = new
