"""TensorRT's parser and builder take what we write for it: every tiny model in every precision, built on this machine's CPU."""

import pytest
from autocompress.compress import Compressor, Network, Recipe
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.models import TINY_MODELS
from autocompress.tests.targets.rtx_build import acceptance

pytest.importorskip("tensorrt_rtx")
FORMAT = FileFormat(activations="int8-symmetric")


@pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)
def test_the_builder_accepts_every_precision(model, tmp_path):
    task = tiny_task(model.name)
    network = Network.trace(task.model, task.example_inputs)
    compressor = Compressor(task, network, CompressorOptions(format=FORMAT))
    layers = [layer.name for layer in network.layers if not layer.float_only]
    recipes = {precision: Recipe(precision=dict.fromkeys(layers, precision)) for precision in ("float32", "int8")}
    files = {name: compressor.build(recipe, tmp_path).artifact.path for name, recipe in recipes.items()}
    found = dict(zip(files, acceptance(list(files.values())), strict=True))
    assert {name: item.messages for name, item in found.items() if not item.accepted} == {}


def test_the_builder_refuses_the_convention_of_onnx_runtime(tmp_path):
    task = tiny_task("chain")
    network = Network.trace(task.model, task.example_inputs)
    built = Compressor(task, network).build(
        Recipe(precision=dict.fromkeys((layer.name for layer in network.layers), "int8")), tmp_path
    )
    refused = acceptance([built.artifact.path])[0]
    assert not refused.accepted and "Int32" in refused.messages[0]
