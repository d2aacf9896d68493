"""What tests read in a built ONNX file: its answers, its multiplications and its parameters."""

import math

import onnx
import onnxruntime


def run(path, inputs, *, plain=False):
    """The outputs of the file in ONNX Runtime; `plain`: each node as it is written, no integer kernels."""
    options = onnxruntime.SessionOptions()
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.x64quantprecision", "1"
    )  # without VNNI, sums of int8 products saturate
    session = onnxruntime.InferenceSession(path, options, disabled_optimizers=["WeightBiasQuantization"])
    return session.run(None, {value.name: x for value, x in zip(session.get_inputs(), inputs, strict=True)})


def multiplications(model):
    """MACs of one sample in the layers of a float32 file, from ONNX's own shape inference."""
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*inferred.value_info, *inferred.output)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in weights:
            dims = weights[node.input[1]]
            attributes = {attribute.name: attribute.i for attribute in node.attribute}
            columns = math.prod(dims[1:]) if node.op_type == "Conv" or attributes.get("transB") else dims[0]
            outputs = math.prod(dim.dim_value for dim in shapes[node.output[0]])
            total += outputs * columns
    return total


def weights_and_biases(model):
    """Parameters of the layers of a float32 file."""
    dims = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    total = 0
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in dims:
            total += sum(math.prod(dims[name]) for name in node.input[1:])
        if node.op_type == "Add":
            product = next(
                (name for name in node.input if name in makers and makers[name].op_type == "MatMul"), None
            )
            bias = next((name for name in node.input if name in dims), None)
            total += math.prod(dims[bias]) if product and bias else 0
    return total
