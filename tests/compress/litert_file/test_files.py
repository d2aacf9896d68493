"""Files of whole students: LiteRT answers like torch in every precision, and XNNPACK takes every layer."""

import importlib

import numpy as np
import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.compress.recipe import Precision
from autocompress.errors import InputError, StageError
from autocompress.profiles import load_profile
from autocompress.targets.target import Target
from autocompress.targets.transport import WORKER
from autocompress.tests.compress.conftest import made_once
from autocompress.tests.compress.kinds import kind_task
from autocompress.tests.models import TINY_MODELS

pytest.importorskip("ai_edge_litert", reason="pip install ai-edge-litert")
PROFILE = load_profile("cpu-litert")
LITERT = FileFormat(container="tflite", activations=PROFILE.activations)
QUICK = ("residual", "depthwise", "mlp")


@pytest.fixture(scope="module")
def compressors_for_litert(exports):
    """A function from a tiny model's name to its compressor for LiteRT."""
    return made_once(CompressorOptions(formats=(LITERT,)), exports)


def recipes_of(network):
    """By name, recipes of each precision and of neighbours that differ, and one of half the channels."""
    able = [layer.name for layer in network.layers if not layer.float_only]
    kinds: tuple[Precision, ...] = ("int8", "float32", "w8")
    keep = {group.name: group.channels // 2 for group in network.groups if group.channels % 8 == 0}
    return {
        "float32": Recipe(),
        **{kind: Recipe(precision=dict.fromkeys(able, kind)) for kind in kinds if kind != "float32"},
        "mixed": Recipe(precision={name: kinds[index % 3] for index, name in enumerate(able)}),
        "pruned": Recipe(keep=keep),
    }


@pytest.mark.parametrize(
    "name",
    [pytest.param(tiny.name, marks=[] if tiny.name in QUICK else pytest.mark.slow) for tiny in TINY_MODELS],
)
def test_every_precision_answers_like_torch_and_runs_as_asked(name, compressors_for_litert, tmp_path):
    compressor = compressors_for_litert(name)
    try:
        compressor.require_writable()
    except InputError as error:
        pytest.skip(str(error))
    with Target(PROFILE).session() as session:
        for kind, recipe in recipes_of(compressor.network).items():
            built = compressor.build(recipe, tmp_path).only
            np.savez(tmp_path / "x.npz", **{str(at): x for at, x in enumerate(built.check.inputs)})
            try:
                check_outputs(session.run(built.artifact.path, tmp_path / "x.npz", batch=16), built.check)
            except StageError as error:
                raise AssertionError(f"{kind}: {error}") from error
            stored = built.artifact.precision
            executed = session.executed_precision(built.artifact.path, stored)
            wanted = {layer: "int8" if one == "int8" else "float32" for layer, one in stored.items()}
            if name == "products":  # a reshape stands between the product of a and its ReLU
                wanted["a"] = "float32"
            assert {k: v for k, v in executed.items() if v != wanted[k]} == {}, kind
            assert executed.keys() == wanted.keys(), kind


def test_xnnpack_takes_every_layer_of_an_int8_file(compressors_for_litert, tmp_path, monkeypatch):
    from ai_edge_litert.compiled_model import CompiledModel

    monkeypatch.syspath_prepend(str(WORKER.parent))
    operators = importlib.import_module("on_device.runtimes.litert_cpu.operators")
    compressor = compressors_for_litert("depthwise")
    able: dict[str, Precision] = {layer.name: "int8" for layer in compressor.network.layers}
    file = operators.File(compressor.build(Recipe(precision=able), tmp_path).only.artifact.path.read_bytes())
    layers = [one for one in file.operators() if one.layer]
    taken = [CompiledModel.from_buffer(file.alone(one, {})).is_fully_accelerated() for one in layers]
    assert len(layers) == len(able) and all(taken)


def test_a_model_with_an_operator_that_litert_lacks_is_refused_before_anything_is_built(exports):
    class Complex(torch.nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x).real

    task = kind_task(torch.nn.Sequential(torch.nn.Linear(8, 8), Complex()), (torch.randn(4, 8),))
    network = Network.trace(task.model, task.example_inputs)
    compressor = Compressor(task, network, CompressorOptions(formats=(LITERT,)))
    with pytest.raises(InputError, match=r"cannot have the operator .*target with another runtime"):
        compressor.require_writable()
