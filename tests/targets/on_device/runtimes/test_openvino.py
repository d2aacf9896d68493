"""OpenVINO as a target: every kind of file of ours, the precision and the time of layers, bundles."""

import itertools
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.onnx_file.encoding.pack import write_integers
from autocompress.compress.onnx_file.writer import ModelWriter
from autocompress.compress.recipe import executes_as
from autocompress.deploy.bundle import write_bundle
from autocompress.errors import ProfileError
from autocompress.files import digest_of_file
from autocompress.profiles import load_profile
from autocompress.results.view import RunOn
from autocompress.targets.target import Target
from autocompress.targets.transport import WORKER
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.deploy.small_run import small_run
from autocompress.tests.deploy.small_run import target as target_facts
from autocompress.tests.models import TINY_MODELS
from autocompress.tests.targets.models import samples
from onnx import TensorProto, helper

pytest.importorskip("openvino", reason="pip install openvino")
PROFILE = load_profile("cpu-openvino")
PRECISIONS = ("float32", "int8", "int4", "int3", "block4")
RECURRENT = "recurrent."  # its weights are no layers of their own in any runtime's graph


@pytest.fixture(scope="module")
def target():
    return Target(PROFILE)


@pytest.fixture(scope="module")
def compressor():
    """A function from a tiny model's name to its compressor; the last one is kept."""
    made: dict[str, Compressor] = {}

    def make(name):
        if name not in made:
            made.clear()
            task = tiny_task(name)
            made[name] = Compressor(task, Network.trace(task.model, task.example_inputs))
        return made[name]

    return make


def answers(session, built, folder):
    inputs = folder / "in.npz"
    np.savez(inputs, **{str(index): array for index, array in enumerate(built.check.inputs)})
    return session.run(built.artifact.path, inputs, batch=len(built.check.inputs[0]))


def recipe_of(network, precision):
    """Every layer that can have this precision has it."""
    if precision == "float32":
        return Recipe()
    kinds = ("linear",) if precision == "block4" else ("linear", "conv")
    layers = [
        layer
        for layer in network.layers
        if layer.kind in kinds and precision in getattr(layer, "precisions", (precision,))
    ]
    return Recipe(precision={layer.name: precision for layer in layers})


# An input of two_inputs is called like a layer, which is then told by its weight.
OTHERS = [("chain", "int6"), ("chain", "int2"), ("two_inputs", "int3")]
FILES = [*itertools.product(["chain", "zero_padded_shortcut", "encoder"], PRECISIONS), *OTHERS]


@pytest.mark.parametrize(("name", "precision"), FILES)
def test_it_answers_as_torch_does_and_tells_what_each_layer_ran_in(
    compressor, target, tmp_path, name, precision
):
    made = compressor(name)
    recipe = recipe_of(made.network, precision)
    built = made.build(recipe, tmp_path).only
    names = [layer.name for layer in made.network.layers]
    with target.session() as session:
        got, executed = (
            answers(session, built, tmp_path),
            session.executed_precision(built.artifact.path, names),
        )
    if precision != "int8":  # sums of 8-bit products saturate on CPUs without VNNI, in every runtime
        check_outputs(got, built.check)
    assert executed.keys() == set(names)
    for layer in names:
        asked = executes_as(recipe.precision.get(layer, "float32"))
        assert executed[layer] == asked or (asked == "block4" and executed[layer] == "float32")


@pytest.mark.parametrize("shape", [(16, 16), (7, 3)], ids=str)
@pytest.mark.parametrize("bits", [6, 3, 2])
def test_it_restores_every_packed_weight_of_a_linear_layer(target, tmp_path, shape, bits):
    """There it left bytes to its kernels that constant folding did not know, which rounded them."""
    weights = np.random.default_rng(bits).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape).astype(np.int8)
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", shape[1]])]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", shape[0]])]
    model = helper.make_model(
        helper.make_graph([], "g", given, made), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    writer = ModelWriter(model)
    scale = writer.add_initializer(np.ones(shape[0], np.float32), "scale")
    values = writer.add_node(
        "DequantizeLinear", [write_integers(writer, "fc.weight_q", weights, bits), scale], "w", axis=0
    )
    writer.add_node("Gemm", ["x", values], "y", transB=1)
    onnx.save(model, tmp_path / "model.onnx")
    samples(tmp_path / "in.npz", np.eye(shape[1], dtype=np.float32))
    with target.session() as session:
        (answer,) = session.run(tmp_path / "model.onnx", tmp_path / "in.npz", batch=shape[1])
    np.testing.assert_array_equal(answer.T, weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", [row.name for row in TINY_MODELS])
def test_it_reads_every_tiny_model(compressor, target, tmp_path, name):
    made = compressor(name)
    built = made.build(Recipe(), tmp_path).only
    computing = [layer for layer in made.network.layers if layer.kind != "embedding"]
    names = [layer.name for layer in computing if not layer.name.startswith(RECURRENT)]
    with target.session() as session:
        check_outputs(answers(session, built, tmp_path), built.check)
        assert session.executed_precision(built.artifact.path, names) == dict.fromkeys(names, "float32")


def test_layers_are_timed_under_their_own_names(compressor, target, tmp_path):
    made = compressor("chain")
    built = made.build(Recipe(precision={"1.0": "int8"}), tmp_path).only
    with target.session() as session:
        seen = session.profile_layers(built.artifact.path, ["0.0", "1.0", "2.0"], batch=64)
    assert seen.layers.keys() == {"0.0", "1.0", "2.0"} and min(seen.layers.values()) > 0 and seen.other_s > 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            '[runtime_options]\nINFERENCE_PRECISION_HINT = "f16"',
            'set INFERENCE_PRECISION_HINT = "f32" or "bf16"',
        ),
    ],
)
def test_a_profile_that_openvino_would_run_wrongly_is_refused(tmp_path, line, told):
    path = tmp_path / "own.toml"
    path.write_text(f'inherits = "cpu-openvino"\n{line}\n')
    with pytest.raises(ProfileError, match=told):
        load_profile(str(path))


def test_importing_it_tells_nobody(tmp_path):
    code = (
        "import sys; sys.path.append(sys.argv[1]); from on_device.runtimes.listed import load_runtime; "
        "load_runtime('openvino')\n"
        "print([name for name, module in sys.modules.items() if name.startswith('openvino_telemetry') and "
        "module])"
    )
    folder = WORKER.parent
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path)},
    )
    assert done.stdout.strip() == "[]" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_run_py_of_a_bundle_answers_with_openvino_and_nothing_of_this_package(compressor, tmp_path, packed):
    built = compressor("chain").build(Recipe(), tmp_path).only
    openvino = replace(
        target_facts(PROFILE.name, runtime="openvino"), runtime_options=PROFILE.runtime_options
    )
    point = RunOn.of(small_run(tmp_path / "run", openvino), PROFILE.name).points[1]
    size = built.artifact.size_bytes
    facts = replace(point.artifact, digest=digest_of_file(built.artifact.path), size_bytes=size)
    point = replace(point, measured=replace(point.measured, artifact=facts))
    write_bundle(point, built.artifact.path, tmp_path / "bundle", packed=packed)
    np.save(tmp_path / "input.npy", built.check.inputs[0][:1])
    code = (
        "import runpy, sys; path, sys.argv[1:] = sys.argv[1], sys.argv[2:]; runpy.run_path(path, run_name='__main__')\n"
        "print([m for m in ('onnxruntime', 'torch', 'onnx', 'autocompress') if m in sys.modules])"
    )
    command = [sys.executable, "-I", "-c", code, tmp_path / "bundle/run.py", tmp_path / "input.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    printed, _, loaded = done.stdout.strip().rpartition("\n")
    values = re.findall(r"-?\d[\d.e+-]*", printed.partition("float32")[2])
    expected = built.check.expected[0][:1].ravel()
    np.testing.assert_allclose(list(map(float, values)), expected, rtol=1e-3, atol=1e-4)
    assert loaded == "[]"
