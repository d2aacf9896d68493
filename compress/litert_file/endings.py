"""What follows an operator and is written as a part of it: an activation, and the grid of its output."""

from dataclasses import dataclass

import numpy as np
import onnx

from .emitter import Emitter, Form, Value, unsupported
from .flat import Grid, schema
from .graph import OnnxGraph

_LIMITS = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, np.inf): "RELU", (0.0, 1.0): "RELU_0_TO_1"}
_FUSED = ("RELU", "RELU6", "RELU_N1_TO_1")  # what operators do themselves
_UINT8_MIDDLE = 128  # LiteRT's 8 bits are signed: q - 128 is the same number


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """`output` is the value behind the nodes that are written together, `grid` that of its integers."""

    output: str
    activation: str = "NONE"
    grid: Grid | None = None
    nodes: tuple[onnx.NodeProto, ...] = ()

    @property
    def code(self) -> int:
        """The activation in the schema's numbers."""
        return int(getattr(schema().ActivationFunctionType, self.activation))


def ending_of(emitter: Emitter, node: onnx.NodeProto, *, integers: bool, activations: bool = True) -> Ending:
    """The activation behind a node (where its operator has `activations`) and, where it computes with
    `integers`, the QuantizeLinear behind that.

    Without a QuantizeLinear there the ending has no grid: the node cannot compute with integers.
    """
    graph, output, taken, activation = emitter.graph, node.output[0], [], "NONE"
    reader = graph.only_reader(output)
    if activations and reader is not None and activation_of(graph, reader) in _FUSED:
        activation = str(activation_of(graph, reader))
        taken.append(reader)
        output = reader.output[0]
        reader = graph.only_reader(output)
    grid = None
    if integers and reader is not None and reader.op_type == "QuantizeLinear":
        grid = grid_of(graph, reader)
        taken.append(reader)
        output = reader.output[0]
    return Ending(output=output, activation=activation, grid=grid, nodes=tuple(taken))


def activation_of(graph: OnnxGraph, node: onnx.NodeProto) -> str | None:
    """LiteRT's name of a Relu or Clip; None for every other node and other limits."""
    if node.op_type == "Relu":
        return "RELU"
    return _LIMITS.get(limits_of(graph, node)) if node.op_type == "Clip" else None


def limits_of(graph: OnnxGraph, node: onnx.NodeProto) -> tuple[float, float]:
    """The limits of a Clip. UnsupportedError where they are computed."""
    limits = [-np.inf, np.inf]
    for place, name in enumerate(node.input[1:3]):
        if name:
            array = graph.array(name)
            if array is None:
                raise unsupported(node, "its limits are computed")
            limits[place] = float(array)
    return limits[0], limits[1]


def grid_of(graph: OnnxGraph, node: onnx.NodeProto) -> Grid:
    """The grid of a QuantizeLinear or DequantizeLinear of a whole tensor."""
    scale = graph.array(node.input[1])
    zero = graph.array(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
    if scale is None or zero is None or scale.size != 1 or zero.dtype not in (np.int8, np.uint8):
        raise unsupported(node, "its grid is no constant of 8 bits with one step")
    shift = _UINT8_MIDDLE if zero.dtype == np.uint8 else 0
    return Grid(scale=(float(scale.ravel()[0]),), zero_point=int(zero.ravel()[0]) - shift)


def write_ending(
    emitter: Emitter, ending: Ending, shape: tuple[int | None, ...], *, last: bool
) -> tuple[Value, int]:
    """The value that a node and its ending make, and its tensor."""
    value, tensor = emitter.make(ending.output, shape, Form(last=last, grid=ending.grid))
    if ending.activation in ("RELU", "RELU6"):
        value.least = 0.0
    emitter.done.update(map(id, ending.nodes))
    return value, tensor
