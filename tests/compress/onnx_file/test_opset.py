"""Files for TensorRT 8: opset 17 and 16, weights in float32 behind a pair.

ONNX Runtime is the oracle of what a rewriting means, the fake parser of 8 (its source is in its docstring) of
what is read there, and the real tensorrt-rtx takes this form, too.
"""

import importlib.util
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.onnx_file.opset import lower_opset
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.compress.recipe import Precision
from autocompress.errors import StageError
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.onnx_file.test_formats import halved, uniform
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.models import TINY_MODELS
from autocompress.tests.targets.gpu import FAKE
from autocompress.tests.targets.rtx_build import acceptance
from onnx import TensorProto, helper, numpy_helper

# By model, the opset that it is tried in: some with operators that 17 or 18 changed. The others: `pytest -m
# slow`.
QUICK = {"split": 17, "decoder": 17, "attention": 16}
X = np.random.default_rng(0).standard_normal((2, 4, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def fake():
    """The module with the parser of the fake TensorRT."""
    sys.path.insert(0, str(FAKE))
    try:
        yield importlib.import_module("fake_tensorrt")
    finally:
        sys.path.remove(str(FAKE))


def model_of(op_type, constants=(), *, outputs=1, **attributes):
    """A model of opset 18 with one operator, that reads a 2 × 4 × 6 input `x` and constants."""
    names, stored = [], []
    for index, array in enumerate(constants):
        names.append("" if array is None else f"c{index}")
        if array is not None:
            stored.append(numpy_helper.from_array(np.asarray(array), names[-1]))
    results = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(op_type, ["x", *names], results, **attributes)
    read = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(X.shape))
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output]
    graph = helper.make_graph([node], "g", [read], made, stored)
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    )


def answers(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})


SAME = [
    pytest.param(model_of("ReduceMean", [[1, 2]], keepdims=0), id="mean"),
    pytest.param(model_of("ReduceL2", [[-1]], noop_with_empty_axes=1), id="norm"),
    pytest.param(model_of("ReduceMax", keepdims=0), id="largest of all"),
    pytest.param(model_of("Split", axis=1, num_outputs=2, outputs=2), id="split"),
    pytest.param(model_of("Split", [[1, 3]], axis=1, outputs=2), id="uneven split"),
    pytest.param(model_of("Pad", [[0, 1, 0, 0, 1, 2]]), id="pad"),
    pytest.param(
        model_of("Resize", [None, np.array([1, 1, 2], np.float32)], mode="linear", antialias=0), id="resize"
    ),
    pytest.param(
        model_of(
            "LayerNormalization",
            [np.arange(6, dtype=np.float32), np.full(6, 3, np.float32)],
            axis=-1,
            epsilon=0.1,
        ),
        id="norm of a layer",
    ),
    pytest.param(
        model_of("LayerNormalization", [np.ones((4, 6), np.float32)], axis=-2), id="layer norm of two axes"
    ),
]
REFUSED = [
    (model_of("Split", axis=1, num_outputs=3, outputs=3), "Split .*parts may differ"),
    (model_of("ReduceMean", noop_with_empty_axes=1), "ReduceMean .*reduce nothing"),
    (model_of("Pad", [[1, 2], None, [1]]), "Pad .*it has axes"),
    (
        model_of("Resize", [None, np.array([1, 1, 0.5], np.float32)], mode="linear", antialias=1),
        "Resize .*antialias",
    ),
    (model_of("ScatterND", [[[0]], X[:1]], reduction="max"), "ScatterND .*max or min"),
    (model_of("LayerNormalization", [np.ones(6, np.float32)], axis=2), "LayerNormalization .*from the front"),
    (model_of("Mish"), "Mish .*newer.*opset = 18 or more"),
]


@pytest.mark.parametrize("model", SAME)
def test_an_operator_in_an_older_form_computes_the_same(model, fake):
    expected = answers(model)
    lower_opset(model, 16)
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == (16, 8)
    for output, wanted in zip(answers(model), expected, strict=True):
        np.testing.assert_allclose(output, wanted, rtol=1e-5, atol=1e-5)
    assert as_eight_reads(fake, model, (8, 5)) == model


@pytest.mark.parametrize(("model", "message"), REFUSED)
def test_an_operator_without_an_older_form_is_named(model, message):
    with pytest.raises(StageError, match=message):
        lower_opset(model, 16)


def test_what_is_not_lowered_would_be_misread_without_an_error(fake):
    model = model_of("ReduceMean", [[1, 2]])
    misread = as_eight_reads(fake, model, (8, 6))
    assert misread != model and answers(misread)[0].shape != answers(model)[0].shape


def as_eight_reads(fake, model, numbers):
    """The model as the parser of TensorRT 8 understands it; AssertionError when it refuses a node."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert [
        wrong for node in model.graph.node if (wrong := fake.refused_by_eight(node, stored, numbers))
    ] == []
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return fake.read_as_eight(copy)


def eight(opset):
    """The format of a profile for TensorRT 8."""
    return FileFormat(opset=opset, activations="int8-symmetric", int8_weights="float32")


def compressor_for(name, opset):
    task = tiny_task(name)
    return Compressor(
        task, Network.trace(task.model, task.example_inputs), CompressorOptions(formats=(eight(opset),))
    )


def recipes(network):
    """In every precision that TensorRT 8 has, with neighbours that differ, and with half the channels."""
    names = uniform(network, "int8")
    in_turn: tuple[Precision, ...] = ("int8", "float16", "float32")
    mixed = {name: in_turn[index % 3] for index, name in enumerate(names)}
    pruned = Recipe(keep=halved(network), precision=names)
    recipes = {"int8": Recipe(precision=names), "mixed": Recipe(precision=mixed), "pruned int8": pruned}
    return recipes | {"float32": Recipe(), "float16": Recipe(precision=uniform(network, "float16"))}


def quick_or_slow(model):
    return pytest.param(model.name, id=model.name, marks=() if model.name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("name", [quick_or_slow(model) for model in TINY_MODELS])
def test_every_file_for_tensorrt_8_answers_like_torch_and_is_read_as_it_is_written(name, fake, tmp_path):
    opset = QUICK.get(name, 16)
    compressor = compressor_for(name, opset)
    paths = []
    for recipe in recipes(compressor.network).values():
        built = compressor.build(recipe, tmp_path).only
        model = onnx.load(built.artifact.path)
        onnx.checker.check_model(model, full_check=True)
        assert model.producer_name == "autocompress"
        assert (model.opset_import[0].version, len(model.opset_import), model.ir_version) == (opset, 1, 8)
        assert as_eight_reads(fake, model, (8, 5 if opset == 16 else 6)) == model
        for plain in (True, False):  # False: the stand-in of searches with --allow-predicted
            check_outputs(run(built.artifact.path, built.check.inputs, plain=plain), built.check)
        paths.append(built.artifact.path)
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        verdicts = acceptance(paths[:2])
        assert [verdict.messages for verdict in verdicts if not verdict.accepted] == []


def test_integers_come_back_from_the_float32_that_stores_them(tmp_path):
    plain, task = FileFormat(opset=17, activations="int8-symmetric"), tiny_task("chain")
    options = CompressorOptions(formats=(eight(17), plain))
    network = Network.trace(task.model, task.example_inputs).stored_as("float32")
    compressor = Compressor(task, network, options)
    recipe = Recipe(precision=uniform(compressor.network, "int8"))
    floats, integers = compressor.build(recipe, tmp_path).by_format.values()
    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(integers.artifact.path).graph.initializer
    }
    model = onnx.load(floats.artifact.path)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = {
        node.input[0]: node
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in arrays
    }
    assert set(pairs) == {f"{layer}.weight_f" for layer in recipe.precision}
    for name, node in pairs.items():
        steps = arrays[node.input[1]].reshape(-1, *[1] * (arrays[name].ndim - 1))
        np.testing.assert_array_equal(
            np.rint(arrays[name] / steps).astype(np.int8), stored[name.replace("_f", "_q")]
        )
    weights = sum(arrays[name].size for name in pairs)
    costs = {form: network.stored_as(form).cost(recipe) for form in ("int8", "float32")}
    assert costs["float32"].weight_bytes - costs["int8"].weight_bytes == 3 * weights
    assert costs["float32"].weight_bytes <= floats.artifact.size_bytes
    assert {layer.bits for layer in costs["float32"].layers} == {32}
    assert floats.artifact.size_bytes - integers.artifact.size_bytes == pytest.approx(3 * weights, rel=0.1)
