"""Files for TensorRT: its parser and builder take every precision of every tiny model, and ONNX Runtime
answers like torch.

ONNX Runtime runs each node as it is written (`plain`): an oracle that knows no integer kernels and none of
our code.
"""

import importlib.util
import math

import numpy as np
import onnx
import pytest
from autocompress.compress import Recipe, Recovery, check_outputs
from autocompress.compress.graph.graph import clone, set_tensor
from autocompress.compress.levels.sparse import sparse_refusal
from autocompress.compress.onnx_file.encoding.half import round_to_half, write_half
from autocompress.compress.onnx_file.export import Template
from autocompress.compress.onnx_file.locate import Stored
from autocompress.compress.options import CompressorOptions
from autocompress.errors import StageError
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.conftest import made_once
from autocompress.tests.models import TINY_MODELS
from autocompress.tests.targets.rtx_build import acceptance
from onnx import TensorProto, helper, numpy_helper

needs_builder = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed"
)
QUICK = ("residual", "depthwise", "attention", "mlp")
UNIFORM = ("int8", "float16", "fp8", "int8_24", "float16_24")
RECOVERY = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.5)


def uniform(network, precision):
    """Every layer that can have it in this precision."""
    layers = network.layers
    if precision.endswith("_24"):
        return {layer.name: precision for layer in layers if not sparse_refusal(layer)}
    return {layer.name: precision for layer in layers if not layer.float_only}


def mixed(network):
    """Neighbours in different precisions."""
    kinds = ("int8", "float16", "float32", "fp8")
    layers = [layer.name for layer in network.layers if not layer.float_only]
    return {name: kinds[index % 4] for index, name in enumerate(layers)}


def halved(network):
    return {group.name: group.channels // 2 for group in network.groups if group.channels % 8 == 0}


def recipes_of(network):
    """By name, a recipe of each precision, of neighbours that differ, and of half the channels."""
    recipes = {
        "float32": Recipe(),
        "mixed": Recipe(precision=mixed(network)),
        "pruned": Recipe(keep=halved(network)),
    }
    recipes["pruned int8"] = Recipe(keep=halved(network), precision=uniform(network, "int8"))
    return recipes | {name: Recipe(precision=uniform(network, name)) for name in UNIFORM}


def built_files(compressor, form, folder):
    """By name of the recipe, what was built in a format."""
    network = compressor.network
    return {name: compressor.build(recipe, folder).of(form) for name, recipe in recipes_of(network).items()}


def quick_or_slow(model):
    """The table's model; those outside QUICK take the suite too long: `pytest -m slow` has them."""
    return pytest.param(model, id=model.name, marks=() if model.name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("model", [quick_or_slow(model) for model in TINY_MODELS])
def test_every_precision_answers_like_torch_and_is_accepted_by_tensorrt(
    model, compressors_of_both, symmetric, tmp_path
):
    built = built_files(compressors_of_both(model.name), symmetric, tmp_path)
    for result in built.values():
        check_outputs(run(result.artifact.path, result.check.inputs, plain=True), result.check)
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        verdicts = dict(
            zip(built, acceptance([result.artifact.path for result in built.values()]), strict=True)
        )
        assert {name: verdict.messages for name, verdict in verdicts.items() if not verdict.accepted} == {}


@needs_builder
def test_the_builder_refuses_the_convention_of_onnx_runtime(compressors, tmp_path):
    compressor = compressors("chain")
    built = compressor.build(Recipe(precision=uniform(compressor.network, "int8")), tmp_path).only
    refused = acceptance([built.artifact.path])[0]
    assert not refused.accepted and refused.stage == "parse" and "Int32" in refused.messages[0]


@needs_builder
def test_a_model_that_cannot_be_read_does_not_stop_the_next(compressors, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    good = compressors("mlp").build(Recipe(), tmp_path).only.artifact.path
    assert [verdict.accepted for verdict in acceptance([tmp_path / "broken.onnx", good])] == [False, True]


def assert_symmetric(model):
    """Every integer is int8 and every zero point 0; nothing but a pair touches integers."""
    types = {tensor.name: tensor for tensor in model.graph.initializer}
    integers = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = (
                numpy_helper.to_array(types[name]) for name in node.input[1:]
            )  # TensorRT 8 wants both, of one size
            assert zero.dtype == np.int8 and not zero.any() and zero.shape == scale.shape
        else:
            assert integers.isdisjoint(node.input)
    assert all(
        tensor.data_type not in (TensorProto.INT32, TensorProto.UINT8) for tensor in model.graph.initializer
    )


@pytest.mark.parametrize("name", ["zero_padded_shortcut", "split", "encoder", "inverted_residual"])
def test_both_conventions_of_one_student_answer_like_torch(name, compressors_of_both, symmetric, tmp_path):
    compressor = compressors_of_both(name)
    recipe = Recipe(precision=uniform(compressor.network, "int8"))
    result = compressor.build(recipe, tmp_path)
    for built in result.by_format.values():
        check_outputs(run(built.artifact.path, built.check.inputs, plain=True), built.check)
        assert built.artifact.size_bytes >= compressor.network.cost(recipe).weight_bytes
    assert_symmetric(onnx.load(result.of(symmetric).artifact.path))
    assert len({built.artifact.digest for built in result.by_format.values()}) == 2


def test_one_layer_alone_may_be_int8_whatever_joins_it_in_a_sum(symmetric, exports, tmp_path):
    compressor = made_once(CompressorOptions(formats=(symmetric,)), exports)("residual_projection")
    for layer in compressor.network.layers:
        built = compressor.build(Recipe(precision={layer.name: "int8"}), tmp_path).only
        check_outputs(run(built.artifact.path, built.check.inputs, plain=True), built.check)


def test_linear_layers_share_no_zero_points(compressors, tmp_path):
    compressor = compressors(
        "encoder"
    )  # ONNX Runtime's exact sums replace the zero points of each layer, and fail on a shared one
    built = compressor.build(Recipe(precision=uniform(compressor.network, "int8")), tmp_path).only
    pairs = [node for node in onnx.load(built.artifact.path).graph.node if node.op_type == "DequantizeLinear"]
    zeros = [node.input[2] for node in pairs if ".weight_q" in node.input[0] and len(node.input) > 2]
    assert len(zeros) > 4 and len(set(zeros)) == len(zeros)
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)


@pytest.mark.parametrize("precision", ["int8", "int8_24"])
@pytest.mark.parametrize("name", ["zero_padded_shortcut", "split", "inverted_residual"])
def test_a_file_for_tensorrt_runs_with_the_exact_sums_of_the_stand_in(
    name, precision, compressors_of_both, symmetric, tmp_path
):
    compressor = compressors_of_both(name)  # searches with --allow-predicted score it there
    built = compressor.build(Recipe(precision=uniform(compressor.network, precision)), tmp_path).of(symmetric)
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)


@pytest.mark.parametrize("precision", UNIFORM)
def test_a_pruned_and_recovered_student_answers_like_torch_in_both_formats(
    precision, compressors_of_both, symmetric, tmp_path
):
    compressor = compressors_of_both("residual_projection")
    precisions = uniform(compressor.network, precision)
    recipe = Recipe(keep=halved(compressor.network), precision=precisions, recovery=RECOVERY)
    result = compressor.build(recipe, tmp_path)
    for built in result.by_format.values():
        check_outputs(run(built.artifact.path, built.check.inputs, plain=True), built.check)
        if precision.endswith("_24"):
            assert_sparse(built.artifact.path, precisions)


@pytest.mark.parametrize("precision", UNIFORM)
def test_a_file_has_the_bytes_that_its_cost_says(precision, compressors_of_both, symmetric, tmp_path):
    compressor = compressors_of_both("residual_projection")
    recipe = Recipe(precision=uniform(compressor.network, precision))
    size = compressor.build(recipe, tmp_path).of(symmetric).artifact.size_bytes
    least = compressor.network.cost(recipe).weight_bytes
    assert least <= size <= 1.1 * least + 500


def assert_sparse(path, layers):
    """Two of each four input channels are zero in every layer."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for layer in layers:
        name = f"{layer}.weight_q" if f"{layer}.weight_q" in stored else f"{layer}.weight"
        weight = stored[name]
        fours = np.not_equal(weight, 0).reshape(len(weight), -1, 4, math.prod(weight.shape[2:]))
        assert fours.sum(2).max() == 2


@pytest.mark.parametrize("precision", ["int8_24", "float16_24"])
def test_two_of_four_input_channels_are_zero_at_every_kernel_position(precision, compressors, tmp_path):
    compressor = compressors("residual")
    layers = uniform(compressor.network, precision)
    assert "stem.0" not in layers and len(layers) == 3
    assert_sparse(compressor.build(Recipe(precision=layers), tmp_path).only.artifact.path, layers)


def test_a_layer_without_four_input_channels_cannot_be_sparse(compressors, tmp_path):
    with pytest.raises(
        StageError, match=r"stem\.0 cannot be sparse 2:4: each output channel reads 3 input channels"
    ):
        compressors("residual").build(Recipe(precision={"stem.0": "int8_24"}), tmp_path)


def test_float16_neighbours_have_no_casts_between_them(compressors, tmp_path):
    compressor = compressors("residual")
    built = compressor.build(Recipe(precision=uniform(compressor.network, "float16")), tmp_path).only
    model = onnx.load(built.artifact.path)
    assert [node.op_type for node in model.graph.node].count("Cast") == 2
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}


def test_tensors_whose_names_end_like_those_of_others_stay_apart():
    names = ["x", "conv2d", "conv2d_16", "y"]
    weights = [
        numpy_helper.from_array(np.full((1, 1, 1, 1), 2, np.float32), f"w{index}") for index in range(3)
    ]
    nodes = [helper.make_node("Conv", [names[index], f"w{index}"], [names[index + 1]]) for index in range(3)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 2, 2]) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], weights), ir_version=10)
    stored = {f"w{index}": Stored(initializer=f"w{index}", transposed=False) for index in range(3)}
    write_half(
        model,
        Template(model=model, parameters=stored, values={}),
        {f"layer{index}": f"w{index}" for index in range(3)},
    )
    assert [node.op_type for node in model.graph.node] == ["Cast", "Conv", "Conv", "Conv", "Cast"]
    onnx.checker.check_model(model, full_check=True)


def test_a_float32_shortcut_of_a_float16_branch_is_not_rounded(compressors, tmp_path):
    result = compressors("residual").build(Recipe(precision={"body.1.0": "float16"}), tmp_path).only
    model = onnx.load(result.artifact.path)
    total = next(node for node in model.graph.node if node.op_type == "Add")
    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}
    assert [casts[name].attribute[0].i for name in total.input if name in casts] == [TensorProto.FLOAT]
    check_outputs(run(result.artifact.path, result.check.inputs, plain=True), result.check)


def test_a_weight_beyond_float16_is_refused(compressors):
    module = clone(compressors("mlp").students.original.teacher)
    set_tensor(module, "0.weight", module.get_parameter("0.weight") * 1e8)
    with pytest.raises(StageError, match="keep 0 in float32"):
        round_to_half(module, ["0"])


def test_a_weight_scale_that_is_wrong_is_seen(compressors_of_both, symmetric, tmp_path):
    compressor = compressors_of_both("residual")
    built = compressor.build(Recipe(precision=uniform(compressor.network, "int8")), tmp_path).of(symmetric)
    model = onnx.load(built.artifact.path)
    name = next(node.input[1] for node in model.graph.node if node.input[0] == "head.linear.weight_q")
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(2), name))
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(StageError, match="differs from torch"):
        check_outputs(run(tmp_path / "broken.onnx", built.check.inputs, plain=True), built.check)
