"""Pooling over windows, and means and maxima over whole dimensions."""

import onnx

from .emitter import Emitter, Form, dim_in_layout, unsupported
from .endings import Ending, ending_of, write_ending
from .graph import attributes
from .layers import Taps, padded, taps_of

REDUCERS = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
    "GlobalAveragePool": "MEAN",
    "GlobalMaxPool": "REDUCE_MAX",
}


def write_pooling(emitter: Emitter, node: onnx.NodeProto) -> None:
    """AveragePool and MaxPool over two dimensions; over all of both they are a mean or a maximum."""
    found, source = attributes(node), emitter.value(node.input[0])
    kernel = list(found["kernel_shape"])
    if len(node.output) > 1 or len(kernel) != 2:
        raise unsupported(node, f"{len(kernel)} dimensions, or the places of the maxima")
    taps, outputs = taps_of(node, kernel), emitter.shape_of(node.output[0])
    if taps.dilations != (1, 1) or _rounds_up(taps, source.shape[2:], outputs[2:]):
        raise unsupported(node, "dilation or ceil_mode")
    average = node.op_type == "AveragePool"
    if average and not taps.pads and tuple(source.shape[2:]) == taps.kernel:
        return _write_reduction(emitter, node, "MEAN", [2, 3], keep=True)
    # XNNPACK averages windows in float32 only: LiteRT's own int8 kernel would take longer.
    form = Form(last=True, grid=None if average else source.native.grid)
    tensor, padding = padded(
        emitter, emitter.in_form(source, form), taps, lowest=not average and source.least < 0
    )
    if average and taps.pads and not found.get("count_include_pad") and padding != 0:
        raise unsupported(node, "padding that counts for nothing")
    if average and taps.pads and found.get("count_include_pad") and padding == 0:
        raise unsupported(node, "padding that counts")
    value, output = emitter.make(node.output[0], outputs, form)
    value.least = source.least
    emitter.flat.operator(
        "AVERAGE_POOL_2D" if average else "MAX_POOL_2D",
        [tensor],
        [output],
        options="Pool2DOptions",
        padding=padding,
        strideH=taps.strides[0],
        strideW=taps.strides[1],
        filterHeight=taps.kernel[0],
        filterWidth=taps.kernel[1],
    )
    return None


def _rounds_up(taps: Taps, inputs: tuple[int | None, ...], outputs: tuple[int | None, ...]) -> bool:
    """Whether the output is larger than windows that lie inside make it."""
    for dim, (size, there) in enumerate(zip(inputs, outputs, strict=True)):
        if size is not None and there is not None:
            room = size + taps.begin[dim] + taps.end[dim] - taps.kernel[dim]
            if room // taps.strides[dim] + 1 != there:
                return True
    return False


def write_reduction(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A mean, sum, maximum or minimum over some dimensions."""
    found, rank = attributes(node), len(emitter.shape_of(node.input[0]))
    kind = REDUCERS[node.op_type]
    if node.op_type.startswith("Global"):
        return _write_reduction(emitter, node, kind, list(range(2, rank)), keep=True)
    axes = found.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        given = emitter.graph.array(node.input[1])
        if given is None:
            raise unsupported(node, "its dimensions are computed")
        axes = given.ravel().tolist()
    dims = [int(dim) % rank for dim in axes] if axes else list(range(rank))
    return _write_reduction(emitter, node, kind, dims, keep=bool(found.get("keepdims", 1)))


def _write_reduction(
    emitter: Emitter, node: onnx.NodeProto, kind: str, dims: list[int], *, keep: bool
) -> None:
    source, rank = emitter.value(node.input[0]), len(emitter.shape_of(node.input[0]))
    left = [dim for dim in range(rank) if dim not in dims]
    in_order = 1 not in left or max(left) == 1
    last, grid = source.native.last and (keep or in_order), source.native.grid
    averages = kind == "MEAN"
    ending = ending_of(emitter, node, integers=averages and grid is not None, activations=False)
    if kind == "SUM" or (averages and ending.grid is None):
        grid = None
    if not averages:
        ending = Ending(output=node.output[0], grid=grid)
    tensor = emitter.in_form(source, Form(last=last, grid=grid))
    shape = emitter.shape_of(node.output[0])
    value, output = write_ending(emitter, ending, shape, last=last and keep)
    value.least = source.least
    stored = sorted(dim_in_layout(dim, rank, last=last) for dim in dims)
    emitter.flat.operator(
        kind, [tensor, emitter.integers(stored)], [output], options="ReducerOptions", keepDims=keep
    )
