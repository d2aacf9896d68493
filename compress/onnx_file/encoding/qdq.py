"""Writes a quantization plan into an ONNX model as QuantizeLinear/DequantizeLinear pairs, and shortens names.

`quantize` describes the two conventions: ONNX Runtime's with int32 biases, and TensorRT's, which has no zero
points, float32 biases, and takes integers only from QuantizeLinear and constants. Weights of fewer bits are
packed (`pack`).

TensorRT 8 needs float32 weights with a pair behind them, which its builder quantizes (its developer guide;
microsoft/onnxruntime#9616 made such files for it; 8.2 and 8.4 call a constant of int8 "invalid weights type
of Int8", NVIDIA/TensorRT#2163). Each value of such a weight is an integer times its step: the pair does not
change it, and the engine has exactly the reconstructed integers.
"""

from collections.abc import Mapping, MutableSequence, Sequence
from itertools import count

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ....errors import StageError
from ...graph.quantized import Plan
from ...levels.activations import Scale
from ...options import Int8Weights
from ..export import Template
from ..locate import Stored
from ..writer import ModelWriter, drop_dead_nodes
from .pack import write_integers
from .quantize import QuantizedLayer


def write_qdq(
    model: onnx.ModelProto,
    template: Template,
    plan: Plan,
    scales: Mapping[str, Scale],
    layers: Mapping[str, tuple[str, QuantizedLayer]],
    *,
    int8_weights: Int8Weights = "int8",
) -> None:
    """Changes `model` in place. `layers` has the weight parameter and the integers by layer.

    `int8_weights` is how weights of 8 bits are stored: as integers, or as float32 with a pair behind.
    """
    writer = ModelWriter(model)
    _quantize_tensors(writer, _places(template, plan, scales))
    symmetric = any(scale.signed for scale in scales.values())
    steps: dict[str, tuple[str, QuantizedLayer]] = {}  # by the weight's value: name of its scale, layer
    for name, (weight, quantized) in layers.items():
        if weight not in template.parameters:
            problem = f"the exported model does not hold the weight of {name} as it is"
            message = f"{problem}: it cannot be quantized"
            raise StageError(message, stage="build")
        stored = template.parameters[weight]
        scale = _write_weight(
            writer, stored, name, quantized, symmetric=symmetric, pairs=int8_weights == "float32"
        )
        steps[stored.initializer] = scale, quantized
    if not symmetric:
        _write_biases(writer, steps)
    drop_dead_nodes(model)  # all readers of a carried tensor may now read its integers
    writer.finish()


def _write_weight(
    writer: ModelWriter, stored: Stored, name: str, quantized: QuantizedLayer, *, symmetric: bool, pairs: bool
) -> str:
    """Replaces a layer's weight by its integers, or by float32 with a pair; returns the name of the scale."""
    weights, axis = (quantized.weight.T, 1) if stored.transposed else (quantized.weight, 0)
    scale = writer.add_initializer(quantized.weight_scale, writer.free_name(f"_w{len(writer.dropped)}"))
    # ONNX Runtime's QGemm and QLinearMatMul need an explicit zero point, and exact sums on AVX2 one for each
    # layer. TensorRT 8 refuses a DequantizeLinear without one.
    steps = [scale]
    if symmetric or pairs or weights.ndim == 2:
        zeros = np.zeros(len(quantized.weight_scale), np.int8)
        steps.append(writer.add_initializer(zeros, writer.free_name(f"_n{len(writer.dropped)}")))
    if pairs:
        values = quantized.dequantized_weight()
        values = np.ascontiguousarray(values.T if stored.transposed else values)
        floats = writer.add_initializer(values, f"{name}.weight_f")
        integers = writer.add_node("QuantizeLinear", [floats, *steps], f"{name}.weight_q", axis=axis)
    else:
        integers = write_integers(writer, f"{name}.weight_q", weights, quantized.bits)
    writer.dropped.add(stored.initializer)
    writer.add_node("DequantizeLinear", [integers, *steps], stored.initializer, axis=axis)
    return scale


def _write_biases(writer: ModelWriter, steps: Mapping[str, tuple[str, QuantizedLayer]]) -> None:
    """Writes the biases of all calls of the layers as int32, in the scale of their sums.

    ONNX Runtime's kernels ignore the scale of a bias: calls whose inputs have different scales need one bias
    each.
    """
    graph = writer.model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    written: dict[tuple[str, str, str], str] = {}  # by bias, scale of weight and of input: the new bias
    for node in [node for node in graph.node if node.op_type in ("Conv", "Gemm") and node.input[1] in steps]:
        if len(node.input) < 3 or node.input[2] not in stored:  # a bias that another node adds stays float32
            continue
        bias, input_scale = node.input[2], makers[node.input[0]].input[1]
        scale, quantized = steps[node.input[1]]
        call = bias, scale, input_scale
        if call not in written:
            name = writer.free_name(f"{bias}_{len(written)}") if bias in writer.dropped else bias
            values = numpy_helper.to_array(stored[bias])
            integers = quantized.quantized_bias(values, float(numpy_helper.to_array(stored[input_scale])))
            product = writer.add_node("Mul", [scale, input_scale], f"{name}_s")  # saves 4 bytes a channel
            writer.add_node("DequantizeLinear", [writer.constant(integers, "_b"), product], name, axis=0)
            writer.dropped.add(bias)
            written[call] = name
        node.input[2] = written[call]


def _places(template: Template, plan: Plan, scales: Mapping[str, Scale]) -> list[tuple[str, Scale, bool]]:
    """ONNX value and scale of each planned tensor, and whether it carries the values of another one.

    A carrying node that the exporter removed (a slice of everything) is skipped.
    """
    missing = [
        node for node, source in plan.tensors.items() if node not in template.values and node == source
    ]
    if missing:
        problem = f"the exported model has no tensor for {', '.join(missing)}"
        raise StageError(f"{problem}: its layers cannot be quantized", stage="build")
    places: dict[str, tuple[str, Scale, bool]] = {}
    for node, source in plan.tensors.items():
        if node in template.values:
            value = template.values[node]
            places.setdefault(value, (value, scales[source], node != source))
    return list(places.values())


def _quantize_tensors(writer: ModelWriter, places: Sequence[tuple[str, Scale, bool]]) -> None:
    """Puts a pair behind each tensor; its readers, and the model's output of that name, read the dequantized
    one.

    A carrying operation (slice, pad, reshape) moves uint8 values if its input is quantized. With int8 it gets
    a pair of the same scale instead, which changes nothing: TensorRT moves pairs past such operations itself.
    """
    graph = writer.model.graph
    outputs = {value.name for value in graph.output}
    integers: dict[str, str] = {}  # by dequantized value
    added = []
    for value, scale, carried in places:
        maker = next((node for node in graph.node if value in node.output), None)
        free = writer.free_name
        quantized = free(f"{value}_q")
        raw, dequantized = (free(f"{value}_raw"), value) if value in outputs else (value, free(f"{value}_d"))
        if value in outputs:
            _rename(maker.output if maker else [], value, raw)
        for node in graph.node:
            _rename(node.input, value, dequantized)
        names = [
            writer.constant(np.array(scale.scale, np.float32), "_s"),
            writer.constant(np.array(scale.zero_point, np.int8 if scale.signed else np.uint8), "_z"),
        ]
        integers[dequantized] = quantized
        if carried and not scale.signed and maker is not None and maker.input[0] in integers:
            maker.input[0], maker.output[0] = integers[maker.input[0]], quantized
            if maker.op_type == "Pad":
                del maker.input[2:]
                maker.input.append(names[1])
        else:
            added.append(helper.make_node("QuantizeLinear", [raw, *names], [quantized]))
        added.append(helper.make_node("DequantizeLinear", [quantized, *names], [dequantized]))
    graph.node.extend(added)


def _rename(names: MutableSequence[str], old: str, new: str) -> None:
    for position, name in enumerate(names):
        if name == old:
            names[position] = new


def shorten_names(model: onnx.ModelProto, layers: Mapping[str, str]) -> None:
    """Names the nodes of layers after them (`layers`: by weight value), drops other names, numbers tensors.

    Inputs, outputs and initializers keep their names: people and the check of executed precisions read them.
    """
    graph = model.graph
    fixed = {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    short: dict[str, str] = {}
    numbers = (text for text in map("_{}".format, count()) if text not in fixed)
    named: set[str] = set()
    for node in graph.node:
        is_layer = node.op_type not in ("Gather", "Transpose")  # those read the table of a tied classifier
        names = [layers[name] for name in node.input if name in layers] if is_layer else []
        layer = names[0] if names else ""
        node.name = "" if layer in named else layer  # unique: only the first call of a shared layer has one
        named.add(layer)
        for values in (node.input, node.output):
            for position, value in enumerate(values):
                if value and value not in fixed:
                    short[value] = values[position] = short.get(value) or next(numbers)
