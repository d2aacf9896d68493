"""One student in the formats of several targets: each answers like torch with that format's rounding."""

import numpy as np
import onnx
import pytest
from autocompress.compress import Compressor, Network, Recipe, Recovery, check_outputs
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.models import TINY_MODELS
from onnx import TensorProto, numpy_helper

SYMMETRIC = FileFormat(activations="int8-symmetric")


@pytest.fixture(scope="module")
def compressors():
    """As in other tests, with TensorRT's format beside that of ONNX Runtime."""
    made = {}

    def compressor(name):
        if name not in made:
            task = tiny_task(name)
            options = CompressorOptions(further=(SYMMETRIC,))
            made[name] = Compressor(task, Network.trace(task.model, task.example_inputs), options)
        return made[name]

    return compressor


def all_layers(network, precision):
    return {layer.name: precision for layer in network.layers if not layer.float_only}


def assert_symmetric(model):
    """Every integer is int8 and every zero point 0; nothing but a pair touches integers."""
    types = {tensor.name: tensor for tensor in model.graph.initializer}
    integers = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zeros = [numpy_helper.to_array(types[name]) for name in node.input[2:]]  # int8 where a weight has none
            assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
            assert zeros or types[node.input[0]].data_type == TensorProto.INT8
        else:
            assert integers.isdisjoint(node.input)
    assert all(tensor.data_type not in (TensorProto.INT32, TensorProto.UINT8) for tensor in model.graph.initializer)


@pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)
def test_both_conventions_of_one_student_answer_like_torch(model, compressors, tmp_path):
    compressor = compressors(model.name)
    recipe = Recipe(precision=all_layers(compressor.network, "int8"))
    result = compressor.build(recipe, tmp_path)
    for built in (result, result.further[SYMMETRIC]):
        check_outputs(run(built.artifact.path, built.check.inputs, plain=True), built.check)
        assert built.artifact.size_bytes >= compressor.network.cost(recipe).weight_bytes
    assert_symmetric(onnx.load(result.further[SYMMETRIC].artifact.path))
    assert result.artifact.digest != result.further[SYMMETRIC].artifact.digest


def test_both_conventions_of_a_pruned_and_recovered_student_answer_like_torch(compressors, tmp_path):
    compressor = compressors("zero_padded_shortcut")
    keep = {group.name: group.channels // 2 for group in compressor.network.groups}
    recovery = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.5)
    recipe = Recipe(keep=keep, precision=all_layers(compressor.network, "int8"), recovery=recovery)
    result = compressor.build(recipe, tmp_path)
    for built in (result, result.further[SYMMETRIC]):
        check_outputs(run(built.artifact.path, built.check.inputs, plain=True), built.check)


def test_a_symmetric_scale_that_is_wrong_is_seen(compressors, tmp_path):
    result = compressors("residual").build(Recipe(precision=all_layers(compressors("residual").network, "int8")), tmp_path)
    built = result.further[SYMMETRIC]
    model = onnx.load(built.artifact.path)
    name = next(node.input[1] for node in model.graph.node if node.input[0] == "head.linear.weight_q")
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(2), name))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    with pytest.raises(Exception, match="differs from torch"):
        check_outputs(run(broken, built.check.inputs, plain=True), built.check)
