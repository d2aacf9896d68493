"""Operators that move values: reshape, transpose, slice, concatenate, pad, gather, resize."""

import numpy as np
import onnx

from .emitter import Emitter, Form, dim_in_layout, unsupported
from .endings import ending_of, write_ending
from .graph import attributes

_LARGEST = np.iinfo(np.int32).max


def write_reshape(emitter: Emitter, node: onnx.NodeProto) -> None:
    """Whatever keeps the order of values: Reshape, Flatten, Squeeze, Unsqueeze."""
    source, shape = emitter.value(node.input[0]), emitter.shape_of(node.output[0])
    last = source.native.last and all(size == 1 for size in source.shape[2:])
    form = Form(last=last, grid=source.native.grid)
    tensor = emitter.in_form(source, form)
    value, output = emitter.make(node.output[0], shape, Form(grid=form.grid), dtype=source.dtype)
    value.least = source.least
    emitter.reshape(tensor, shape, output)


def write_same(emitter: Emitter, node: onnx.NodeProto) -> None:
    """An operator that changes nothing here: Identity, Dropout."""
    emitter.rename(node.output[0], node.input[0])


def write_transpose(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Transpose; one that channels last stand in for moves nothing."""
    source = emitter.value(node.input[0])
    rank = len(source.shape)
    order = list(attributes(node).get("perm") or reversed(range(rank)))
    form, shape = source.native, emitter.shape_of(node.output[0])
    stored = [dim_in_layout(dim, rank, last=form.last) for dim in order]
    if stored == list(range(rank)):
        value = emitter.make(node.output[0], shape, Form(grid=form.grid), dtype=source.dtype)[0]
        value.tensors = {Form(grid=form.grid): source.tensors[form]}
        return
    _, output = emitter.make(node.output[0], shape, Form(grid=form.grid), dtype=source.dtype)
    emitter.flat.operator(
        "TRANSPOSE",
        [source.tensors[form], emitter.integers(stored)],
        [output],
        options="TransposeOptions",
    )


def write_concat(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Concat, of integers where all have one grid."""
    names, shape = list(node.input), emitter.shape_of(node.output[0])
    values = [emitter.value(name) for name in names]
    last = any(value.native.last for value in values)
    grids = {value.native.grid for value in values}
    ending = ending_of(emitter, node, integers=None not in grids, activations=False)
    tensors = [emitter.in_form(value, Form(last=last, grid=ending.grid)) for value in values]
    if values[0].dtype == "float32":
        value, output = write_ending(emitter, ending, shape, last=last)
        value.least = min(part.least for part in values)
    else:
        _, output = emitter.make(node.output[0], shape, Form(last=last), dtype=values[0].dtype)
    dim = dim_in_layout(int(attributes(node)["axis"]), len(shape), last=last)
    emitter.flat.operator("CONCATENATION", tensors, [output], options="ConcatenationOptions", axis=dim)


def write_slice(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Slice with constant places."""
    source = emitter.value(node.input[0])
    rank = len(source.shape)
    given = [emitter.graph.array(name) if name else None for name in node.input[1:]]
    if (
        given[0] is None
        or given[1] is None
        or any(array is None for array, name in zip(given, node.input[1:], strict=True) if name)
    ):
        raise unsupported(node, "its places are computed")
    starts, ends = given[0].tolist(), given[1].tolist()
    dims = given[2].tolist() if len(given) > 2 and given[2] is not None else list(range(len(starts)))
    steps = given[3].tolist() if len(given) > 3 and given[3] is not None else [1] * len(starts)
    if any(step < 1 for step in steps):
        raise unsupported(node, "a step below 1")
    form = source.native
    begin, end, stride = [0] * rank, [0] * rank, [1] * rank
    whole_begin, whole_end = set(range(rank)), set(range(rank))
    for first, after, dim, step in zip(starts, ends, dims, steps, strict=True):
        place = dim_in_layout(dim, rank, last=form.last)
        begin[place], end[place], stride[place] = max(first, -_LARGEST), min(after, _LARGEST), step
        whole_begin.discard(place)
        if after < _LARGEST:
            whole_end.discard(place)
    value, output = emitter.make(node.output[0], emitter.shape_of(node.output[0]), form, dtype=source.dtype)
    value.least = source.least
    emitter.flat.operator(
        "STRIDED_SLICE",
        [source.tensors[form], *map(emitter.integers, (begin, end, stride))],
        [output],
        options="StridedSliceOptions",
        beginMask=sum(1 << place for place in whole_begin),
        endMask=sum(1 << place for place in whole_end),
    )


def write_split(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Split along one dimension."""
    source = emitter.value(node.input[0])
    rank, dim = len(source.shape), int(attributes(node).get("axis", 0)) % len(source.shape)
    form = source.native
    shapes = [emitter.shape_of(name) for name in node.output]
    sizes = [shape[dim] for shape in shapes]
    if None in sizes:
        raise unsupported(node, "the sizes of its parts are not known")
    outputs = [
        emitter.make(name, shape, form, dtype=source.dtype)[1]
        for name, shape in zip(node.output, shapes, strict=True)
    ]
    parts = emitter.integers([int(size or 0) for size in sizes])
    place = emitter.flat.constant(np.array(dim_in_layout(dim, rank, last=form.last), np.int32))
    emitter.flat.operator(
        "SPLIT_V",
        [source.tensors[form], parts, place],
        outputs,
        options="SplitVOptions",
        numSplits=len(outputs),
    )


def write_pad(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Pad with zeros or another constant."""
    found, source = attributes(node), emitter.value(node.input[0])
    rank, amounts = len(source.shape), emitter.graph.array(node.input[1])
    filling = emitter.graph.array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(())
    if found.get("mode", b"constant") != b"constant" or amounts is None or filling is None:
        raise unsupported(node, "what it pads with is no constant")
    dims = list(range(rank))
    if len(node.input) > 3 and node.input[3]:
        chosen = emitter.graph.array(node.input[3])
        if chosen is None:
            raise unsupported(node, "its dimensions are computed")
        dims = [int(dim) % rank for dim in chosen]
    integers = source.native.grid is not None and filling.dtype.kind in "iu"  # the grid's own zero
    number = 0.0 if integers else float(filling)
    form = source.native if number == 0 else Form(last=source.native.last)
    tensor = emitter.in_form(source, form)
    sides = [[0, 0] for _ in range(rank)]
    flat = amounts.ravel().tolist()
    for place, dim in enumerate(dims):
        before, behind = flat[place], flat[place + len(dims)]
        sides[dim_in_layout(dim, rank, last=form.last)] = [before, behind]
    if any(amount < 0 for side in sides for amount in side):
        raise unsupported(node, "it cuts")
    value, output = emitter.make(node.output[0], emitter.shape_of(node.output[0]), form)
    value.least = min(source.least, number)
    table = emitter.flat.constant(np.array(sides, np.int32))
    if number == 0:
        emitter.flat.operator("PAD", [tensor, table], [output], options="PadOptions")
    else:
        constant = emitter.flat.constant(np.array(number, np.float32))
        emitter.flat.operator("PADV2", [tensor, table, constant], [output], options="PadV2Options")


def write_gather(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Gather along one dimension: rows of a table, or some indices."""
    shape, dim = emitter.shape_of(node.output[0]), int(attributes(node).get("axis", 0))
    indices = emitter.graph.array(node.input[1])
    source = emitter.value(node.input[0])
    rank = len(source.shape)
    places = (
        emitter.tensor(node.input[1], Form())
        if indices is None
        else emitter.flat.constant(
            np.where(indices < 0, indices + (source.shape[dim] or 0), indices).astype(np.int32)
        )
    )
    tensor = emitter.in_form(source, Form())
    _, output = emitter.make(node.output[0], shape, Form(), dtype=source.dtype)
    emitter.flat.operator("GATHER", [tensor, places], [output], options="GatherOptions", axis=dim % rank)


def write_expand(emitter: Emitter, node: onnx.NodeProto) -> None:
    """An Expand to a shape that is known."""
    shape = emitter.shape_of(node.output[0])
    if None in shape:
        raise unsupported(node, "its shape is only known when it runs")
    source = emitter.value(node.input[0])
    tensor = emitter.in_form(source, Form())
    _, output = emitter.make(node.output[0], shape, Form(), dtype=source.dtype)
    target = emitter.integers([int(size or 0) for size in shape])
    emitter.flat.operator("BROADCAST_TO", [tensor, target], [output], options="BroadcastToOptions")


def write_resize(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Resize of two dimensions to a size that is known, nearest or bilinear."""
    found, shape = attributes(node), emitter.shape_of(node.output[0])
    mode = found.get("mode", b"nearest").decode()
    how = found.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = found.get("nearest_mode", b"round_prefer_floor").decode()
    corners, half = how == "align_corners", how in ("half_pixel", "pytorch_half_pixel")
    fits = mode == "linear" or (mode == "nearest" and how == "asymmetric" and rounding == "floor")
    if len(shape) != 4 or None in shape[2:] or not fits or not (corners or half or how == "asymmetric"):
        raise unsupported(node, f"{mode}, {how}")
    source = emitter.value(node.input[0])
    tensor = emitter.in_form(source, Form(last=True))
    _, output = emitter.make(node.output[0], shape, Form(last=True))
    size = emitter.integers([int(one or 0) for one in shape[2:]])
    kind = "RESIZE_BILINEAR" if mode == "linear" else "RESIZE_NEAREST_NEIGHBOR"
    emitter.flat.operator(
        kind,
        [tensor, size],
        [output],
        options="ResizeBilinearOptions" if mode == "linear" else "ResizeNearestNeighborOptions",
        alignCorners=corners,
        halfPixelCenters=half,
    )


def write_cast(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Cast between types that LiteRT has."""
    source = emitter.value(node.input[0])
    dtype = emitter.graph.dtype(node.output[0])
    if dtype not in ("float32", "int32", "int64", "bool", "int8"):
        raise unsupported(node, f"to {dtype}")
    form = Form(last=source.native.last)
    tensor = emitter.in_form(source, form)
    if dtype == source.dtype:
        emitter.rename(node.output[0], node.input[0])
        return
    _, output = emitter.make(node.output[0], source.shape, form, dtype=dtype)
    emitter.flat.operator("CAST", [tensor], [output], options="CastOptions")
