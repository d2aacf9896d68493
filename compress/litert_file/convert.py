"""litert_from_onnx: the .tflite file of an encoded ONNX model."""

from collections.abc import Callable, Mapping

import onnx

from . import elementwise, layers, pooling, shaping
from .emitter import Emitter, Form, UnsupportedError, Value, unsupported
from .graph import OnnxGraph

Rule = Callable[[Emitter, onnx.NodeProto], None]
DESCRIPTION = "autocompress"

RULES: Mapping[str, Rule] = {
    "Conv": layers.write_convolution,
    **dict.fromkeys(("Gemm", "MatMul"), layers.write_linear),
    **dict.fromkeys(("AveragePool", "MaxPool"), pooling.write_pooling),
    **dict.fromkeys(pooling.REDUCERS, pooling.write_reduction),
    **dict.fromkeys(elementwise.BINARY, elementwise.write_binary),
    **dict.fromkeys(elementwise.UNARY, elementwise.write_unary),
    **dict.fromkeys(("Relu", "Clip"), elementwise.write_activation),
    "LeakyRelu": elementwise.write_leaky,
    "PRelu": elementwise.write_prelu,
    "Gelu": elementwise.write_gelu,
    "HardSigmoid": elementwise.write_hard_sigmoid,
    **dict.fromkeys(("Softmax", "LogSoftmax"), elementwise.write_softmax),
    "BatchNormalization": elementwise.write_batch_norm,
    "QuantizeLinear": elementwise.write_quantize,
    "DequantizeLinear": elementwise.write_dequantize,
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), shaping.write_reshape),
    **dict.fromkeys(("Identity", "Dropout"), shaping.write_same),
    "Transpose": shaping.write_transpose,
    "Concat": shaping.write_concat,
    "Slice": shaping.write_slice,
    "Split": shaping.write_split,
    "Pad": shaping.write_pad,
    "Gather": shaping.write_gather,
    "Expand": shaping.write_expand,
    "Resize": shaping.write_resize,
    "Cast": shaping.write_cast,
}


def litert_from_onnx(model: onnx.ModelProto) -> bytes:
    """The same model as a .tflite file: inputs and outputs in ONNX's order and by its names, channels last in
    between. UnsupportedError names the first operator that LiteRT or this writer does not have.
    """
    graph = OnnxGraph(model)
    emitter = Emitter(graph)
    inputs = [_input(emitter, value) for value in graph.inputs]
    for node in graph.nodes:
        if id(node) not in emitter.done:
            rule = RULES.get(node.op_type)
            if rule is None:
                raise unsupported(node)
            rule(emitter, node)
    outputs = [_output(emitter, name) for name in graph.outputs]
    return emitter.flat.to_bytes(inputs, outputs, description=DESCRIPTION)


def _input(emitter: Emitter, given: onnx.ValueInfoProto) -> int:
    shape, dtype = emitter.graph.shape(given.name), emitter.graph.dtype(given.name)
    if shape is None:
        raise UnsupportedError(f"LiteRT files cannot have the input {given.name}: its shape is not known")
    return emitter.make(given.name, shape, Form(), label=given.name, dtype=dtype)[1]


def _output(emitter: Emitter, name: str) -> int:
    """The tensor of an output in ONNX's order, which nothing else is and which has its name."""
    value: Value = emitter.value(name)
    tensor = emitter.in_form(value, Form())
    emitter.flat.set_name(tensor, name)
    return tensor
