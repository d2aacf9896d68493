"""Operators that compute each value by itself: sums, products, activations, softmax, normalization."""

import numpy as np
import onnx

from .emitter import Emitter, Form, Value, order_of, unsupported
from .endings import activation_of, ending_of, grid_of, limits_of, write_ending
from .graph import attributes

BINARY = {
    "Add": ("ADD", "AddOptions"),
    "Sub": ("SUB", "SubOptions"),
    "Mul": ("MUL", "MulOptions"),
    "Div": ("DIV", "DivOptions"),
    "Max": ("MAXIMUM", "MaximumMinimumOptions"),
    "Min": ("MINIMUM", "MaximumMinimumOptions"),
    "Pow": ("POW", "PowOptions"),
}
_FUSING = ("Add", "Sub", "Mul", "Div")
_INTEGER_BINARY = ("Add", "Mul", "Sub")
UNARY = {
    "Sigmoid": ("LOGISTIC", ""),
    "Tanh": ("TANH", ""),
    "HardSwish": ("HARD_SWISH", "HardSwishOptions"),
    "Elu": ("ELU", ""),
    "Exp": ("EXP", "ExpOptions"),
    "Log": ("LOG", ""),
    "Sqrt": ("SQRT", ""),
    "Abs": ("ABS", "AbsOptions"),
    "Neg": ("NEG", "NegOptions"),
    "Floor": ("FLOOR", ""),
    "Sin": ("SIN", ""),
    "Cos": ("COS", "CosOptions"),
}


def write_binary(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A sum, difference, product, quotient, maximum, minimum or power of two values."""
    if len(node.input) != 2:
        raise unsupported(node, f"{len(node.input)} inputs")
    kind, options = BINARY[node.op_type]
    shape = emitter.shape_of(node.output[0])
    computed = [emitter.value(name) for name in node.input if emitter.graph.constant(name) is None]
    last = any(value.native.last and len(value.shape) == len(shape) for value in computed) and all(
        len(value.shape) == len(shape) for value in computed
    )
    integers = node.op_type in _INTEGER_BINARY and all(value.native.grid for value in computed)
    integers = integers and len(computed) == len(node.input)
    fuses = node.op_type in _FUSING and computed[0].dtype == "float32"
    ending = ending_of(emitter, node, integers=integers, activations=fuses)
    whole = ending.grid is not None
    tensors = [_operand(emitter, name, len(shape), last=last, integers=whole) for name in node.input]
    dtype = computed[0].dtype if computed else "float32"
    if dtype == "float32":
        _, output = write_ending(emitter, ending, shape, last=last)
    else:
        _, output = emitter.make(node.output[0], shape, Form(last=last), dtype=dtype)
    fused = {"fusedActivationFunction": ending.code} if node.op_type in _FUSING else {}
    emitter.flat.operator(kind, tensors, [output], options=options, **fused)


def _operand(emitter: Emitter, name: str, rank: int, *, last: bool, integers: bool) -> int:
    """One of several operands whose dimensions are aligned at the end, in ONNX's order."""
    array = emitter.graph.array(name)
    if array is None:
        value = emitter.value(name)
        return emitter.in_form(value, Form(last=last, grid=value.native.grid if integers else None))
    array = array.reshape([1] * (rank - array.ndim) + list(array.shape))
    if last and rank > 2:
        array = array.transpose(order_of(rank, last=True))
    if array.dtype in (np.float64, np.float16):
        array = array.astype(np.float32)
    return emitter.flat.constant(array.reshape(()) if array.size == 1 else array)


def write_unary(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A function of each value."""
    kind, options = UNARY[node.op_type]
    _write_float(emitter, node, kind, options)


def _write_float(emitter: Emitter, node: onnx.NodeProto, kind: str, options: str, **more: object) -> None:
    source = emitter.value(node.input[0])
    form = Form(last=source.native.last)
    tensor = emitter.in_form(source, form)
    _, output = emitter.make(node.output[0], source.shape, form, dtype=source.dtype)
    emitter.flat.operator(kind, [tensor], [output], options=options, **more)


def write_activation(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Relu or Clip that no operator in front has taken over."""
    source, kind = emitter.value(node.input[0]), activation_of(emitter.graph, node)
    form = source.native if kind == "RELU" else Form(last=source.native.last)
    tensor = emitter.in_form(source, form)
    value, output = emitter.make(node.output[0], source.shape, form)
    if kind is not None:
        value.least = max(0.0, source.least) if kind != "RELU_N1_TO_1" else -1.0
        emitter.flat.operator(kind, [tensor], [output])
        return
    low, high = limits_of(emitter.graph, node)
    value.least = low
    limits = [("MAXIMUM", low)] * (low > -np.inf) + [("MINIMUM", high)] * (high < np.inf)
    if not limits:
        emitter.rename(node.output[0], node.input[0])
    for number, (operator, limit) in enumerate(limits):
        target = (
            output if number == len(limits) - 1 else emitter.flat.like(tensor, emitter.flat.signature(tensor))
        )
        other = emitter.flat.constant(np.array(limit, np.float32))
        emitter.flat.operator(operator, [tensor, other], [target], options="MaximumMinimumOptions")
        tensor = target


def write_leaky(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A LeakyRelu."""
    alpha = float(attributes(node).get("alpha", 0.01))
    _write_float(emitter, node, "LEAKY_RELU", "LeakyReluOptions", alpha=alpha)


def write_gelu(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Gelu, exact or by tanh."""
    approximate = attributes(node).get("approximate", b"none") == b"tanh"
    _write_float(emitter, node, "GELU", "GeluOptions", approximate=approximate)


def write_prelu(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A PRelu with a constant slope, one for all or one for each channel."""
    slope, source = emitter.graph.array(node.input[1]), emitter.value(node.input[0])
    if slope is None or slope.size not in (1, source.shape[1]):
        raise unsupported(node, "its slope is no constant of one value, or one for each channel")
    form = Form(last=len(source.shape) > 2)
    tensor = emitter.in_form(source, form)
    _, output = emitter.make(node.output[0], source.shape, form)
    sizes = [1] * (len(source.shape) - 2) + [slope.size]
    slopes = emitter.flat.constant(slope.reshape(sizes).astype(np.float32))
    emitter.flat.operator("PRELU", [tensor, slopes], [output])


def write_hard_sigmoid(emitter: Emitter, node: onnx.NodeProto) -> None:
    """min(max(alpha · x + beta, 0), 1)."""
    found, source = attributes(node), emitter.value(node.input[0])
    form = Form(last=source.native.last)
    tensor, flat = emitter.in_form(source, form), emitter.flat
    scaled, moved = (flat.like(tensor, flat.signature(tensor)) for _ in range(2))
    value, output = emitter.make(node.output[0], source.shape, form)
    value.least = 0.0
    alpha, beta = (
        np.array(found.get(key, default), np.float32) for key, default in (("alpha", 0.2), ("beta", 0.5))
    )
    flat.operator("MUL", [tensor, flat.constant(alpha)], [scaled], options="MulOptions")
    flat.operator("ADD", [scaled, flat.constant(beta)], [moved], options="AddOptions")
    flat.operator("RELU_0_TO_1", [moved], [output])


def write_softmax(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A Softmax or LogSoftmax over the last dimension, or over channels that are stored last."""
    source = emitter.value(node.input[0])
    rank = len(source.shape)
    dim = int(attributes(node).get("axis", -1)) % rank
    if dim not in (1, rank - 1):
        raise unsupported(node, f"dimension {dim} of {rank}")
    form = Form(last=dim == 1 and rank > 2)
    tensor = emitter.in_form(source, form)
    _, output = emitter.make(node.output[0], source.shape, form)
    if node.op_type == "Softmax":
        emitter.flat.operator("SOFTMAX", [tensor], [output], options="SoftmaxOptions", beta=1.0)
    else:
        emitter.flat.operator("LOG_SOFTMAX", [tensor], [output], options="LogSoftmaxOptions")


def write_batch_norm(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A BatchNormalization that no convolution in front could take: x · factor + offset."""
    arrays = [emitter.graph.array(name) for name in node.input[1:5]]
    if any(array is None for array in arrays):
        raise unsupported(node, "its statistics are computed")
    scale, bias, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    factor = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    source, flat = emitter.value(node.input[0]), emitter.flat
    last = len(source.shape) > 2
    tensor = emitter.in_form(source, Form(last=last))
    scaled = flat.like(tensor, flat.signature(tensor))
    ending = ending_of(emitter, node, integers=False)
    _, output = write_ending(emitter, ending, source.shape, last=last)
    offset = bias - mean * factor
    flat.operator("MUL", [tensor, flat.constant(factor.astype(np.float32))], [scaled], options="MulOptions")
    flat.operator(
        "ADD",
        [scaled, flat.constant(offset.astype(np.float32))],
        [output],
        options="AddOptions",
        fusedActivationFunction=ending.code,
    )


def write_quantize(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A QuantizeLinear that no operator in front has taken over."""
    source, grid = emitter.value(node.input[0]), grid_of(emitter.graph, node)
    form = Form(last=source.native.last, grid=grid)
    tensor = emitter.in_form(source, form)
    emitter.values[node.output[0]] = _integer_value(source, form, tensor)


def write_dequantize(emitter: Emitter, node: onnx.NodeProto) -> None:
    """A DequantizeLinear: the same value; whoever needs it as float32 asks for that form."""
    emitter.rename(node.output[0], node.input[0])


def _integer_value(source: Value, form: Form, tensor: int) -> Value:
    made = Value(shape=source.shape, least=source.least)
    made.tensors[form] = tensor
    return made
