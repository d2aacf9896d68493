"""Weights stored in 8 to 2 bits and computed in float32: the file answers like torch, sessions fold what
expands it, and it is as small as its bits.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe, Recovery, check_outputs
from autocompress.compress.onnx_file.encoding.stored import stored_weight
from autocompress.compress.recipe import BITS, STORED
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.kinds import kind_task
from autocompress.tests.models import TINY_MODELS
from torch import nn

QUICK = ("depthwise", "upsampler")
ROWS_OF_A_TABLE = ("Cast", "Cast", "Gather", "Mul")  # integers and steps of the tokens' rows become floats
RECOVERY = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.5)


def uniform(network, precision):
    """Every layer that can have it in this precision."""
    return {layer.name: precision for layer in network.layers if not layer.unstorable}


def quick_or_slow(model):
    return pytest.param(model.name, marks=() if model.name in QUICK else pytest.mark.slow)


def operators_in_onnxruntime(path, folder):
    """What a session runs, sorted."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(folder / "optimized.onnx"), 3
    onnxruntime.InferenceSession(path, options)
    return sorted(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def operators_in_openvino(path):
    """What a compiled model runs, sorted; constants and copies between memory layouts aside."""
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kinds = [op.get_rt_info()["layerType"].astype(str) for op in compiled.get_runtime_model().get_ops()]
    return sorted(kind for kind in kinds if kind not in ("Const", "Reorder", "Reshape", "Transpose"))


@pytest.mark.parametrize("name", [quick_or_slow(model) for model in TINY_MODELS])
def test_stored_bits_answer_like_torch_and_run_the_nodes_of_float32(name, compressors, tmp_path):
    compressor = compressors(name)
    original = compressor.build(Recipe(), tmp_path).only.artifact.path
    for precision in ("w4", "w3") if name in QUICK else sorted(STORED):
        recipe = Recipe(precision=uniform(compressor.network, precision))
        built = compressor.build(recipe, tmp_path).only
        check_outputs(run(built.artifact.path, built.check.inputs), built.check)
        assert built.artifact.size_bytes >= compressor.network.cost(recipe).weight_bytes
        operators = operators_in_onnxruntime(built.artifact.path, tmp_path)
        rows = ROWS_OF_A_TABLE if name == "gpt" else ()
        assert operators == sorted((*operators_in_onnxruntime(original, tmp_path), *rows))


def test_openvino_expands_stored_bits_when_it_compiles(compressors, tmp_path):
    compressor = compressors("depthwise")
    original = operators_in_openvino(compressor.build(Recipe(), tmp_path).only.artifact.path)
    for precision in ("w8", "w4", "w3"):
        recipe = Recipe(precision=uniform(compressor.network, precision))
        assert operators_in_openvino(compressor.build(recipe, tmp_path).only.artifact.path) == original


class Words(nn.Module):
    """Two calls of one table, and positions that do not depend on the tokens."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.out = nn.Embedding(200, 24), nn.Embedding(8, 24), nn.Linear(24, 5)

    def forward(self, tokens):
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1])) + self.words(tokens[:, :1])
        return self.out(x.mean(1))


@pytest.mark.parametrize("precision", ["w8", "w4", "w3"])
def test_of_a_table_only_the_rows_that_are_read_become_floats(precision, tmp_path):
    tokens = torch.randint(200, (8, 8), generator=torch.Generator().manual_seed(0))
    model = Words().eval()
    network = Network.trace(model, (tokens[:2],))
    assert [(layer.name, layer.uses) for layer in network.layers] == [("words", 2), ("out", 1)]
    compressor = Compressor(kind_task(model, (tokens,)), network)
    recipe = Recipe(keep={"words": 12}, precision={"words": precision})
    built = compressor.build(recipe, tmp_path).only
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)
    size, bits = built.artifact.size_bytes, BITS[precision]
    assert network.cost(recipe).weight_bytes <= size < 200 * 12 * bits / 8 + 200 * 2 + 2500
    assert operators_in_onnxruntime(built.artifact.path, tmp_path).count("Gather") == 2 * 2
    assert not any(
        tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims[0] == 200
        for tensor in onnx.load(tmp_path / "optimized.onnx").graph.initializer
    )


def test_a_weight_on_a_grid_keeps_its_integers_and_its_steps_are_halves():
    integers = np.random.default_rng(0).integers(-4, 4, (5, 7))
    steps = np.array([0.01, 0.02, 0.3, 4.0, 0.5], np.float32)
    stored = stored_weight((integers * steps[:, None]).astype(np.float32), 3, steps=steps)
    assert stored.steps.dtype == np.float16 and (stored.integers == integers).all()
    np.testing.assert_allclose(stored.values(), integers * steps[:, None], rtol=2**-11)


def test_steps_that_float16_cannot_hold_are_float32():
    weight = np.array([[1.0, -2.0], [1e-7, 2e-7]], np.float32)
    stored = stored_weight(weight, 8)
    assert stored.steps.dtype == np.float32
    assert (np.abs(stored.values() - weight).max(axis=1) < [0.01, 1e-9]).all()


@pytest.mark.slow
def test_a_trained_recurrent_layer_is_stored_as_it_was_trained(compressors, tmp_path):
    compressor = compressors("lstm")
    recipe = Recipe(precision=uniform(compressor.network, "w3"), recovery=RECOVERY)
    built = compressor.build(recipe, tmp_path).only
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)
    (matrix,) = (
        tensor for tensor in onnx.load(built.artifact.path).graph.initializer if "hh_l0.weight" in tensor.name
    )
    assert matrix.data_type == onnx.TensorProto.UINT8 and matrix.dims[1] == 3
