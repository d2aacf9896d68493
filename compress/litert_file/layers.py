"""Convolutions and linear layers, in float32, with weights of few bits in float32, and in int8."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx

from .emitter import Emitter, Form, in_layout, unsupported
from .endings import Ending, ending_of, write_ending
from .flat import Grid, schema
from .graph import Constant, Shape, StoredConstant, attributes

_INT4 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """How a kernel moves over two dimensions; `begin` and `end` is what it pads."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]

    @property
    def pads(self) -> bool:
        """Whether it pads at all."""
        return any((*self.begin, *self.end))

    def same(self, sizes: Sequence[int | None]) -> bool:
        """Whether it pads as LiteRT does by itself ("SAME")."""
        for dim, size in enumerate(sizes):
            if size is None:
                return False
            reach = (self.kernel[dim] - 1) * self.dilations[dim] + 1
            total = max((-(-size // self.strides[dim]) - 1) * self.strides[dim] + reach - size, 0)
            if (self.begin[dim], self.end[dim]) != (total // 2, total - total // 2):
                return False
        return True


def taps_of(node: onnx.NodeProto, kernel: Sequence[int]) -> Taps:
    """The taps of a convolution or pooling over one dimension (the first has size 1 then) or two."""
    found, rank = attributes(node), len(kernel)
    if rank not in (1, 2) or found.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise unsupported(node, f"{rank} dimensions, or padding that is not explicit")
    pads = found.get("pads") or [0] * 2 * rank

    def pair(values: Sequence[int], one: int) -> tuple[int, int]:
        return (values[0], values[1]) if rank == 2 else (one, values[0])

    return Taps(
        kernel=pair(kernel, 1),
        strides=pair(found.get("strides") or [1] * rank, 1),
        dilations=pair(found.get("dilations") or [1] * rank, 1),
        begin=pair(pads[:rank], 0),
        end=pair(pads[rank:], 0),
    )


def write_convolution(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Conv over one dimension or two, depthwise and grouped ones too."""
    graph, weight = emitter.graph, emitter.graph.constant(node.input[1])
    if weight is None:
        raise unsupported(node, "its weight is computed")
    shape = _shape_of(weight)
    taps, groups = taps_of(node, shape[2:]), int(attributes(node).get("group", 1))
    source = emitter.value(node.input[0])
    inputs, outputs = source.shape, emitter.shape_of(node.output[0])
    depthwise = groups == inputs[1] and groups > 1
    bias = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(shape[0])
    if len(shape) == 3:
        weight = _with_height(weight)
    order, axis = ((1, 2, 3, 0), 3) if depthwise else ((0, 2, 3, 1), 0)
    call = _prepared(emitter, node, weight=weight, bias=bias, order=order, axis=axis)
    tensor = emitter.in_form(source, Form(last=True, grid=call.input_grid))
    wide = _widened(emitter, tensor, inputs, call.input_grid)
    tensor, padding = padded(emitter, wide, taps)
    kind, options, more = "CONV_2D", "Conv2DOptions", {}
    if depthwise:
        kind, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
        more["depthMultiplier"] = shape[0] // groups
    _, output = write_ending(emitter, call.ending, outputs, last=True)
    written = output
    if len(outputs) == 3:
        spread = _spread(in_layout(outputs, last=True))
        written = emitter.flat.tensor(spread, "int8" if call.grid else "float32", grid=call.grid)
    emitter.flat.operator(
        kind,
        [tensor, call.weight, call.bias],
        [written],
        options=options,
        padding=padding,
        strideH=taps.strides[0],
        strideW=taps.strides[1],
        dilationHFactor=taps.dilations[0],
        dilationWFactor=taps.dilations[1],
        fusedActivationFunction=call.ending.code,
        **more,
    )
    if written != output:
        emitter.reshape(written, in_layout(outputs, last=True), output)


def write_linear(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Gemm, or a MatMul with a constant; products of two activations are BATCH_MATMUL."""
    found, weight = attributes(node), emitter.graph.constant(node.input[1])
    if node.op_type == "MatMul" and (weight is None or len(_shape_of(weight)) != 2):
        return _write_product(emitter, node)
    if weight is None or found.get("transA") or {found.get("alpha", 1.0), found.get("beta", 1.0)} != {1.0}:
        raise unsupported(node, "its weight is computed, or it scales")
    order = (0, 1) if found.get("transB") else (1, 0)
    columns = _shape_of(weight)[order[0]]
    bias: Constant | None = None
    if len(node.input) > 2 and node.input[2]:
        bias = emitter.graph.constant(node.input[2])
    outputs = emitter.shape_of(node.output[0])
    call = _prepared(
        emitter, node, weight=weight, bias=np.zeros(columns) if bias is None else bias, order=order, axis=0
    )
    tensor = emitter.tensor(node.input[0], Form(grid=call.input_grid))
    _, output = write_ending(emitter, call.ending, outputs, last=False)
    emitter.flat.operator(
        "FULLY_CONNECTED",
        [tensor, call.weight, call.bias],
        [output],
        options="FullyConnectedOptions",
        fusedActivationFunction=call.ending.code,
        keepNumDims=len(outputs) != 2,
    )
    return None


def _write_product(emitter: Emitter, node: onnx.NodeProto) -> None:
    tensors = [emitter.tensor(name, Form()) for name in node.input]
    _, output = emitter.make(node.output[0], emitter.shape_of(node.output[0]), Form())
    emitter.flat.operator("BATCH_MATMUL", tensors, [output], options="BatchMatMulOptions")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """The tensors and the ending of one call of a layer, whose input and output have these grids."""

    weight: int
    bias: int
    ending: Ending
    input_grid: Grid | None

    @property
    def grid(self) -> Grid | None:
        return self.ending.grid


def _prepared(
    emitter: Emitter,
    node: onnx.NodeProto,
    *,
    weight: Constant,
    bias: Constant | None,
    order: Sequence[int],
    axis: int,
) -> _Call:
    """Weight and bias of a layer, as integers where its input, its weight and its output are. `order` is that
    of the weight's dimensions, `axis` where its output channels are then.
    """
    if bias is None:
        raise unsupported(node, "its bias is computed")
    grid = emitter.value(node.input[0]).native.grid
    if grid is not None and isinstance(weight, StoredConstant) and weight.quantized:
        ending = ending_of(emitter, node, integers=True)
        if ending.grid is not None:
            stored, steps = _integer_weight(emitter, weight, order, axis)
            integers = _integer_bias(emitter, bias, steps * np.float32(grid.scale[0]))
            emitter.flat.set_name(stored, emitter.label(node))
            return _Call(weight=stored, bias=integers, ending=ending, input_grid=grid)
    values = bias.values() if isinstance(bias, StoredConstant) else bias
    stored = emitter.stored(weight, order)
    emitter.flat.set_name(stored, emitter.label(node))
    return _Call(
        weight=stored,
        bias=emitter.flat.constant(np.asarray(values, np.float32).ravel()),
        ending=ending_of(emitter, node, integers=False),
        input_grid=None,
    )


def _integer_weight(
    emitter: Emitter, weight: StoredConstant, order: Sequence[int], axis: int
) -> tuple[int, np.ndarray]:
    """The tensor of a weight of integers, and its step for each output channel."""
    integers = np.ascontiguousarray(weight.integers.transpose(order))
    steps = np.broadcast_to(weight.steps, integers.shape[axis]).astype(np.float32)
    if weight.bits == _INT4:
        integers = integers.astype(ml_dtypes.int4)
    grid = Grid(scale=tuple(map(float, steps)), axis=axis)
    return emitter.flat.constant(integers, grid=grid), steps


def _integer_bias(emitter: Emitter, bias: Constant, scale: np.ndarray) -> int:
    """The tensor of a bias in the scale of the sums of products, int32."""
    if isinstance(bias, StoredConstant):
        integers = bias.integers
    else:
        limit = np.iinfo(np.int32).max
        integers = np.clip(np.rint(np.asarray(bias, np.float64).ravel() / scale), -limit, limit)
    grid = Grid(scale=tuple(map(float, scale)))
    return emitter.flat.constant(integers.astype(np.int32), grid=grid)


def padded(emitter: Emitter, tensor: int, taps: Taps, *, lowest: bool = False) -> tuple[int, int]:
    """A channels-last tensor of two dimensions as a kernel takes it, and the kernel's own padding.

    `lowest`: what is added is smaller than everything, otherwise it is zero.
    """
    codes, shape = schema().Padding, emitter.flat.signature(tensor)
    if not taps.pads:
        return tensor, int(codes.VALID)
    if taps.same(shape[1:3]):
        return tensor, int(codes.SAME)
    sides = [[0, 0], *zip(taps.begin, taps.end, strict=True), [0, 0]]
    larger = [None if size is None else size + sum(side) for size, side in zip(shape, sides, strict=True)]
    return pad(emitter, tensor, sides, larger, lowest=lowest), int(codes.VALID)


def pad(
    emitter: Emitter, tensor: int, sides: Any, shape: Sequence[int | None], *, lowest: bool = False
) -> int:
    """A tensor with so many values in front and behind in each dimension."""
    made = emitter.flat.like(tensor, shape)
    amounts = emitter.flat.constant(np.array(sides, np.int32))
    if lowest:
        value = emitter.flat.number_like(tensor, -np.inf)
        emitter.flat.operator("PADV2", [tensor, amounts, value], [made], options="PadV2Options")
    else:
        emitter.flat.operator("PAD", [tensor, amounts], [made], options="PadOptions")
    return made


def _widened(emitter: Emitter, tensor: int, shape: Shape, grid: Grid | None) -> int:
    """A channels-last tensor with a height of 1, where it has none."""
    if len(shape) != 3:
        return tensor
    spread = _spread(in_layout(shape, last=True))
    made = emitter.flat.tensor(spread, "int8" if grid else "float32", grid=grid)
    emitter.reshape(tensor, spread, made)
    return made


def _spread(shape: Shape) -> Shape:
    return (shape[0], 1, *shape[1:])


def _with_height(weight: Constant) -> Constant:
    if isinstance(weight, StoredConstant):
        return replace(weight, integers=weight.integers[:, :, np.newaxis])
    return weight[:, :, np.newaxis]


def _shape_of(weight: Constant) -> tuple[int, ...]:
    return tuple((weight.integers if isinstance(weight, StoredConstant) else weight).shape)
