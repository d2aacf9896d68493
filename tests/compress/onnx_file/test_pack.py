"""Packed integers, expanded by ONNX Runtime, are the integers that were packed."""

import numpy as np
import onnx
import onnxruntime
import pytest
from autocompress.compress.onnx_file.encoding.pack import bit_planes, write_integers
from autocompress.compress.onnx_file.encoding.qdq import shorten_names
from autocompress.compress.onnx_file.writer import ModelWriter
from onnx import helper

BITS = (2, 3, 4, 6, 8)
SHAPES = [(8, 3, 3, 3), (5, 1, 3, 3), (7, 3), (1,)]


def random_integers(bits, shape):
    limit = 2 ** (bits - 1)
    return np.random.default_rng(bits).integers(-limit, limit, shape).astype(np.int8)


def packed_model(integers, bits):
    """A model without inputs whose output is what the packed integers expand to."""
    graph = helper.make_graph([], "g", [], [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    name = write_integers(ModelWriter(model), "fc.weight_q", integers, bits)
    if bits == 8:
        model.graph.node.append(helper.make_node("Identity", [name], ["y"]))
        name = "y"
    model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT8, integers.shape))
    return model


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bits", BITS)
def test_the_runtime_restores_every_integer(bits, shape):
    integers = random_integers(bits, shape)
    session = onnxruntime.InferenceSession(packed_model(integers, bits).SerializeToString())
    np.testing.assert_array_equal(session.run(None, {})[0], integers)


@pytest.mark.parametrize("bits", BITS)
def test_a_stored_weight_takes_its_bits(bits):
    integers = random_integers(bits, (64, 16, 3, 3))
    weight = packed_model(integers, bits).graph.initializer[0]
    assert weight.name == "fc.weight_q"
    assert len(weight.raw_data) == integers.size * bits // 8


def test_the_last_byte_of_a_plane_may_be_filled_in_part():
    planes = bit_planes(
        np.array([-2, 1, 0, -1, 0, 0, 0, 0, -2], np.int8), 2
    )  # byte 0 holds those at even places
    np.testing.assert_array_equal(planes, [[0b00000, 0b10001], [0b0011, 0b0010]])


def test_what_the_user_called_like_the_table_or_a_constant_is_kept_apart():
    given = [helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [1]) for name in ("_bits", "_c0")]
    model = helper.make_model(
        helper.make_graph([], "g", given, []), opset_imports=[helper.make_opsetid("", 16)], ir_version=8
    )
    integers = random_integers(3, (7, 3))
    writer = ModelWriter(model)
    names = [write_integers(writer, name, integers, 3) for name in ("a", "b")]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.INT8, integers.shape) for name in names
    )
    writer.finish()
    shorten_names(model, {})
    onnx.checker.check_model(model, full_check=True)
    feeds = {value.name: np.zeros(1, np.uint8) for value in given}
    for output in onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds):
        np.testing.assert_array_equal(output, integers)


def test_short_names_leave_out_those_of_the_user():
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("_0", "y")]
    nodes = [helper.make_node("Neg", ["_0"], ["first"]), helper.make_node("Neg", ["first"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))
    shorten_names(model, {})
    assert [[*node.input, *node.output] for node in model.graph.node] == [["_0", "_1"], ["_1", "y"]]


def test_layers_share_the_table_and_the_constants_of_their_unpacking():
    model = helper.make_model(helper.make_graph([], "g", [], []))
    writer = ModelWriter(model)
    for name in ("a", "b"):
        write_integers(writer, name, random_integers(3, (8, 16)), 3)
    assert len(model.graph.initializer) == 2 + 7
    assert [node.op_type for node in model.graph.node].count("Range") == 1
