"""ONNX files are looked at in their bytes: what is taken is what onnx reads, and no weight lies elsewhere."""

import random
import time

import onnx
import pytest
from autocompress.errors import InputError
from autocompress.service.onnx_scan import INSIDE, require_onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper
from onnx.external_data_helper import uses_external_data


def tensor(name: str = "w") -> TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0])


def elsewhere(name: str = "w") -> TensorProto:
    stored = tensor(name)
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value="../../secret")
    return stored


def branch(stored: TensorProto) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("o", TensorProto.FLOAT, [2])
    return helper.make_graph([helper.make_node("Constant", [], ["o"], value=stored)], "b", [], [value])


def model(*stored: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])
    nodes = nodes or [helper.make_node("Add", ["x", "w"], ["y"])]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [y], initializer=stored or [tensor()]))


def look_at(tmp_path, data: bytes) -> None:
    (tmp_path / "m").write_bytes(data)
    require_onnx(tmp_path / "m")


def test_the_ways_to_tensors_are_those_of_the_format():
    def leads_to_tensors(message, on_the_way=()) -> bool:
        if message.name == "TensorProto":
            return True
        inner = [one.message_type for one in message.fields if one.message_type is not None]
        return any(
            leads_to_tensors(one, (*on_the_way, message))
            for one in inner
            if one not in (*on_the_way, message)
        )

    ways, waiting = {}, [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in ways:
            inner = {one.number: one.message_type for one in message.fields if one.message_type is not None}
            inner = {} if message.name == "TensorProto" else inner
            ways[message.name] = {number: one.name for number, one in inner.items() if leads_to_tensors(one)}
            waiting += [one for one in inner.values() if leads_to_tensors(one)]
    assert ways == INSIDE


def test_whole_models_are_taken_and_cut_ones_are_not(tmp_path):
    data = model().SerializeToString()
    look_at(tmp_path, data)
    for end in range(len(data) - 1):
        with pytest.raises(InputError, match="no whole file of ONNX"):
            look_at(tmp_path, data[:end])


@pytest.mark.parametrize(
    "made",
    [
        model(elsewhere()),
        model(nodes=[helper.make_node("Constant", [], ["y"], value=elsewhere())]),
        model(
            nodes=[
                helper.make_node(
                    "If", ["x"], ["y"], then_branch=branch(tensor()), else_branch=branch(elsewhere())
                )
            ]
        ),
    ],
    ids=["initializer", "attribute", "branch"],
)
def test_weights_in_another_file_are_refused_wherever_they_are(tmp_path, made):
    with pytest.raises(InputError, match="in another file"):
        look_at(tmp_path, made.SerializeToString())


def test_a_function_or_sparse_tensor_with_weights_in_another_file_is_refused(tmp_path):
    made = model()
    made.functions.add(name="f").node.append(helper.make_node("Constant", [], ["o"], value=elsewhere()))
    sparse = model()
    sparse.graph.sparse_initializer.add().values.CopyFrom(elsewhere())
    for one in (made, sparse):
        with pytest.raises(InputError, match="in another file"):
            look_at(tmp_path, one.SerializeToString())


def test_what_is_no_model_is_refused_in_a_moment(tmp_path):
    deep = tensor().SerializeToString()
    nested = model()
    inner = nested.graph
    for _ in range(90):
        inner = inner.node.add(op_type="If").attribute.add(name="a", type=5).g
    bombs = [b"", b"{}", bytes(100), b"\xff" * 100, deep, b"\x3a\x00", nested.SerializeToString()]
    bombs.append(onnx.ModelProto(ir_version=8).SerializeToString())
    for data in bombs:
        with pytest.raises(InputError, match="no whole file of ONNX"):
            look_at(tmp_path, data)


@pytest.mark.slow
def test_the_time_for_a_file_of_tiny_parts_is_bounded(tmp_path):
    began = time.process_time()
    with pytest.raises(InputError, match="more than 4000000 parts"):
        look_at(tmp_path, b"\x08\x08" * 30_000_000)
    assert time.process_time() - began < 60


def test_no_damage_lets_a_weight_in_another_file_through(tmp_path):
    rng, outside, taken = random.Random(0), 0, 0
    seeds = [model().SerializeToString(), model(elsewhere()).SerializeToString()]
    for _ in range(3000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.choice((rng.randrange(256), 0, 0x80, 0x6A, 0x70))
        try:
            read = onnx.ModelProto.FromString(bytes(data))
        except DecodeError:
            continue
        leads_away = any(uses_external_data(one) for one in read.graph.initializer)
        try:
            look_at(tmp_path, bytes(data))
            taken += 1
            assert not leads_away, data
        except InputError:
            outside += leads_away
    assert outside > 100 and taken > 100
