"""Every rule against ONNX Runtime: models of one operator or a few, on random numbers, in batches of two sizes."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from autocompress.compress.litert_file.convert import RULES, litert_from_onnx
from autocompress.compress.litert_file.emitter import UnsupportedError
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("ai_edge_litert", reason="pip install ai-edge-litert")

IMAGE, ROW, LINE = [3, 8, 6], [12], [4, 9]
RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def node(kind: str, *constants: Any, **attributes: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    return kind, constants, attributes


# By name: the shape of a sample, and the operators one after the other, each with its constants.
CASES = {
    "convolution": (IMAGE, [node("Conv", floats(5, 3, 3, 3), floats(5), pads=[1, 1, 1, 1])]),
    "strided": (IMAGE, [node("Conv", floats(5, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])]),
    "uneven padding": (IMAGE, [node("Conv", floats(5, 3, 3, 2), pads=[0, 1, 2, 0])]),
    "dilated": (IMAGE, [node("Conv", floats(5, 3, 3, 3), pads=[2, 2, 2, 2], dilations=[2, 2])]),
    "depthwise": (IMAGE, [node("Conv", floats(6, 1, 3, 3), floats(6), group=3, pads=[1, 1, 1, 1])]),
    "grouped": ([4, 8, 6], [node("Conv", floats(6, 2, 3, 3), floats(6), group=2)]),
    "one dimension": (LINE, [node("Conv", floats(5, 4, 3), floats(5), pads=[1, 1]), node("Relu")]),
    "fused relu6": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("Clip", np.float32(0), np.float32(6))]),
    "other limits": (IMAGE, [node("Clip", np.float32(-0.5), np.float32(0.75))]),
    "linear": (ROW, [node("Gemm", floats(5, 12), floats(5), transB=1), node("Relu")]),
    "linear of many rows": ([7, 12], [node("MatMul", floats(12, 5)), node("Add", floats(5))]),
    "average pool": (IMAGE, [node("AveragePool", kernel_shape=[2, 2], strides=[2, 2])]),
    "average pool of all": (IMAGE, [node("AveragePool", kernel_shape=[8, 6]), node("Flatten")]),
    "counted padding": (
        IMAGE, [node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)],
    ),
    "max pool": (IMAGE, [node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])]),
    "max pool behind relu": (
        IMAGE, [node("Relu"), node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
    ),
    "global average": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("GlobalAveragePool"), node("Flatten")]),
    "global maximum": (IMAGE, [node("GlobalMaxPool")]),
    "mean over pixels": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("ReduceMean", whole(2, 3), keepdims=0)]),
    "mean over channels": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("ReduceMean", whole(1), keepdims=1)]),
    "sum over rows": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("ReduceSum", whole(2), keepdims=0)]),
    "flattened image": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("Flatten"), node("Gemm", floats(240, 3))]),
    "channel factors": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("Mul", floats(5, 1, 1))]),
    "row of numbers": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("Sub", floats(6))]),
    "leaky": (IMAGE, [node("LeakyRelu", alpha=0.2)]),
    "prelu": (IMAGE, [node("PRelu", np.abs(floats(3, 1, 1)))]),
    "hard swish": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("HardSwish")]),
    "hard sigmoid": (IMAGE, [node("HardSigmoid", alpha=1 / 6, beta=0.5)]),
    "sigmoid": (IMAGE, [node("Sigmoid"), node("Tanh")]),
    "gelu": (ROW, [node("Gelu")]),
    "softmax": (ROW, [node("Softmax", axis=1)]),
    "softmax over channels": (IMAGE, [node("Softmax", axis=1)]),
    "log softmax": (ROW, [node("LogSoftmax", axis=-1)]),
    "normalization": (IMAGE, [node("BatchNormalization", *np.abs(floats(4, 3))), node("Relu")]),
    "transposed": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("Transpose", perm=[0, 2, 3, 1])]),
    "transposed otherwise": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("Transpose", perm=[0, 3, 1, 2])]),
    "reshaped": (IMAGE, [node("Conv", floats(4, 3, 1, 1)), node("Reshape", whole(-1, 2, 2, 48))]),
    "a slice of channels": (
        IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("Slice", whole(1), whole(4), whole(1), whole(1))],
    ),
    "every second pixel": (
        IMAGE, [node("Slice", whole(0, 0), whole(2**62, 2**62), whole(2, 3), whole(2, 2))],
    ),
    "padded channels": (IMAGE, [node("Pad", whole(0, 2, 0, 0, 0, 1, 0, 0))]),
    "padded with a number": (IMAGE, [node("Pad", whole(0, 0, 1, 1, 0, 0, 1, 1), np.float32(-2))]),
    "gathered": (IMAGE, [node("Conv", floats(5, 3, 1, 1)), node("Gather", whole(3, -1, 0), axis=1)]),
    "bilinear": (
        IMAGE,
        [node("Resize", np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32), mode="linear",
              coordinate_transformation_mode="half_pixel")],
    ),
    "nearest": (
        IMAGE,
        [node("Resize", np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32), mode="nearest",
              coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
    ),
}  # fmt: skip


def model_of(shape: list[int], nodes: list[Any], *, opset: int = 20) -> onnx.ModelProto:
    value, made, stored = "x", [], []
    for number, (kind, constants, attributes) in enumerate(nodes):
        names = [f"c{number}_{index}" for index in range(len(constants))]
        stored += [
            numpy_helper.from_array(np.asarray(one), name) for one, name in zip(constants, names, strict=True)
        ]
        made.append(helper.make_node(kind, [value, *names], [f"v{number}"], name=f"n{number}", **attributes))
        value = f"v{number}"
    graph = helper.make_graph(
        made,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def onnx_answer(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def litert_answer(content: bytes, x: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(given["index"]))


@pytest.mark.parametrize("name", CASES)
def test_an_operator_answers_as_onnx_runtime_does(name):
    shape, nodes = CASES[name]
    model = model_of(shape, nodes)
    content = litert_from_onnx(model)
    for batch in (1, 3):
        x = np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32)
        wanted = onnx_answer(model, x)
        answer = litert_answer(content, x)
        assert answer.shape == wanted.shape
        np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
def test_two_images_are_combined_whatever_their_order(kind):
    left = helper.make_node("Conv", ["x", "w"], ["left"])
    right = helper.make_node("Reshape", ["x", "s"], ["right"])
    nodes = [left, right, helper.make_node(kind, ["left", "right"], ["y"])]
    stored = [
        numpy_helper.from_array(floats(3, 3, 1, 1), "w"),
        numpy_helper.from_array(whole(-1, 3, 8, 6), "s"),
    ]
    graph = helper.make_graph(
        nodes, "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *IMAGE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        stored,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    x = floats(2, *IMAGE)
    np.testing.assert_allclose(
        litert_answer(litert_from_onnx(model), x), onnx_answer(model, x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("shape", "nodes", "told"),
    [
        (IMAGE, [node("InstanceNormalization", floats(3), floats(3))], r"operator InstanceNormalization \(n0\)"),
        (IMAGE, [node("Softmax", axis=2)], r"operator Softmax \(n0\): dimension 2 of 4"),
        (IMAGE, [node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 0, 0])], "AveragePool .*padding"),
        (IMAGE, [node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], "MaxPool .*ceil_mode"),
    ],
)  # fmt: skip
def test_what_litert_cannot_have_is_named(shape, nodes, told):
    with pytest.raises(
        UnsupportedError, match=f"^LiteRT files cannot have the {told}" if "operator" in told else told
    ):
        litert_from_onnx(model_of(shape, nodes))


def test_a_file_is_the_same_each_time_and_its_values_are_aligned():
    model = model_of(IMAGE, CASES["convolution"][1])
    content = litert_from_onnx(model)
    assert content == litert_from_onnx(model) and content[4:8] == b"TFL3"
    weight = np.ascontiguousarray(numpy_helper.to_array(model.graph.initializer[0]).transpose(0, 2, 3, 1))
    assert content.index(weight.tobytes()) % 16 == 0


def test_every_rule_has_a_case():
    tried = {kind for _, nodes in CASES.values() for kind, _, _ in nodes}
    elsewhere = {"Add", "Sub", "Mul", "Div", "Max", "Min", "QuantizeLinear", "DequantizeLinear"}
    simple = {
        "Pow",
        "Elu",
        "Exp",
        "Log",
        "Sqrt",
        "Abs",
        "Neg",
        "Floor",
        "Sin",
        "Cos",
        "ReduceMax",
        "ReduceMin",
    }
    moves = {"Squeeze", "Unsqueeze", "Identity", "Dropout", "Concat", "Split", "Expand", "Cast"}
    assert RULES.keys() - tried - elsewhere - simple - moves == set()
