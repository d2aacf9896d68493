"""Built artifacts, run by the real ONNX Runtime, answer what the same model answers in torch."""

import os

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe, Recovery, check_outputs
from autocompress.compress.onnx_file.check import relative_error
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.compress.recipe import Precision
from autocompress.errors import StageError
from autocompress.targets.model_files.one_file import is_foreign
from autocompress.targets.on_device.runtimes.onnxruntime_cpu.graph import executed_precision
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.models import TINY_MODELS
from onnx import numpy_helper

NAMES = [model.name for model in TINY_MODELS]
UNPACKING_BYTES = 150  # of constants, per layer, beyond the least that the cost counts
RECOVERY = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.5)


def run(path, inputs, optimized=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(
        "session.x64quantprecision", "1"
    )  # without VNNI, sums of int8 products saturate
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(path, options, disabled_optimizers=["WeightBiasQuantization"])
    return session.run(None, {value.name: x for value, x in zip(session.get_inputs(), inputs, strict=True)})


@pytest.fixture(scope="module")
def int8_bytes(compressors, tmp_path_factory):
    folder, sizes = tmp_path_factory.mktemp("int8"), {}

    def size(name):
        if name not in sizes:
            compressor = compressors(name)
            sizes[name] = compressor.build(
                Recipe(precision=all_int8(compressor.network)), folder
            ).only.artifact.size_bytes
        return sizes[name]

    return size


def halved(network):
    return {group.name: max(1, group.channels // 2) for group in network.groups}


def all_int8(network):
    return {layer.name: "int8" for layer in network.layers if not layer.float_only}


@pytest.mark.parametrize("name", NAMES)
def test_original_artifact_answers_like_the_users_model(name, compressors, tmp_path):
    compressor = compressors(name)
    result = compressor.build(Recipe(), tmp_path).only
    with torch.inference_mode():
        expected = compressor.task.model(*(torch.from_numpy(x) for x in result.check.inputs)).numpy()
    assert relative_error(run(result.artifact.path, result.check.inputs)[0], expected) < 1e-4


@pytest.mark.parametrize("pruned", [False, True], ids=["whole", "pruned"])
@pytest.mark.parametrize("name", NAMES)
def test_int8_artifact_answers_like_fake_quantized_torch(name, pruned, compressors, tmp_path):
    compressor = compressors(name)
    keep = halved(compressor.network) if pruned else {}
    result = compressor.build(Recipe(keep=keep, precision=all_int8(compressor.network)), tmp_path).only
    check_outputs(run(result.artifact.path, result.check.inputs), result.check)
    assert not is_foreign(result.artifact.path)  # `measure` gives it the options of our own files
    assert sum(
        t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1
        for t in onnx.load(result.artifact.path).graph.initializer
    ) == len(all_int8(compressor.network))


@pytest.mark.parametrize("precision", ["int6", "int4", "int3", "int2"])
@pytest.mark.parametrize("name", NAMES)
def test_packed_weights_answer_like_fake_quantized_torch_and_run_as_integers(
    name, precision, compressors, int8_bytes, tmp_path
):
    compressor = compressors(name)
    layers = dict.fromkeys(all_int8(compressor.network), precision)
    result = compressor.build(Recipe(precision=layers), tmp_path).only
    optimized = tmp_path / "optimized.onnx"
    check_outputs(run(result.artifact.path, result.check.inputs, optimized), result.check)
    executed = executed_precision(onnx.load(optimized), layers, original=onnx.load(result.artifact.path))
    assert executed == dict.fromkeys(layers, "int8")
    saved = compressor.network.cost(Recipe(precision=dict.fromkeys(layers, "int8"))).weight_bytes
    saved -= compressor.network.cost(Recipe(precision=layers)).weight_bytes
    assert result.artifact.size_bytes < int8_bytes(name) - saved + UNPACKING_BYTES * len(layers)
    assert result.artifact.size_bytes >= compressor.network.cost(Recipe(precision=layers)).weight_bytes


def linear_layers(network):
    return {
        layer.name: "block4" for layer in network.layers if layer.kind == "linear" and not layer.float_only
    }


@pytest.mark.parametrize(
    "name", ["attention", "encoder", "flatten_linear", "two_inputs", "mlp", "inverted_residual"]
)
def test_block4_answers_like_torch_with_the_dequantized_weights(name, compressors, tmp_path):
    compressor = compressors(name)
    layers = linear_layers(compressor.network)
    result = compressor.build(Recipe(precision=layers), tmp_path).only
    optimized = tmp_path / "optimized.onnx"
    check_outputs(run(result.artifact.path, result.check.inputs, optimized), result.check)
    executed = executed_precision(onnx.load(optimized), layers, original=onnx.load(result.artifact.path))
    assert executed == layers
    assert result.artifact.size_bytes >= compressor.network.cost(Recipe(precision=layers)).weight_bytes


@pytest.mark.parametrize("name", ["attention", "encoder", "flatten_linear", "two_inputs", "mlp"])
def test_dynamic_int8_answers_like_torch_and_computes_in_int8(name, compressors, tmp_path):
    compressor = compressors(name)
    layers: dict[str, Precision] = dict.fromkeys(linear_layers(compressor.network), "dynamic8")
    recipe = Recipe(precision=layers)
    result = compressor.build(recipe, tmp_path).only
    optimized = tmp_path / "optimized.onnx"
    check_outputs(run(result.artifact.path, result.check.inputs, optimized), result.check)
    executed = executed_precision(onnx.load(optimized), layers, original=onnx.load(result.artifact.path))
    assert executed == dict.fromkeys(layers, "int8")
    kinds = [node.op_type for node in onnx.load(result.artifact.path).graph.node]
    assert "QuantizeLinear" not in kinds and kinds.count("DynamicQuantizeMatMul") >= len(layers)
    assert result.artifact.size_bytes >= compressor.network.cost(recipe).weight_bytes
    original = compressor.build(Recipe(), tmp_path).only.artifact.size_bytes
    assert result.artifact.size_bytes < original
    weights = compressor.probe.kl(Recipe(precision=dict.fromkeys(layers, "w8")))
    assert compressor.probe.kl(recipe) > weights >= 0  # the probe sees the rounding of activations


def test_a_layer_in_dynamic_int8_stands_beside_int8_after_pruning_and_recovery(compressors, tmp_path):
    compressor = compressors("flatten_linear")
    precision = {**all_int8(compressor.network), "4": "dynamic8"}
    recovery = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.5)
    recipe = Recipe(keep=halved(compressor.network), precision=precision, recovery=recovery)
    result = compressor.build(recipe, tmp_path).only
    check_outputs(run(result.artifact.path, result.check.inputs), result.check)


def test_block4_stands_beside_int8_after_pruning(compressors, tmp_path):
    compressor = compressors("flatten_linear")
    precision = {**all_int8(compressor.network), "4": "block4"}
    result = compressor.build(Recipe(keep=halved(compressor.network), precision=precision), tmp_path).only
    check_outputs(run(result.artifact.path, result.check.inputs), result.check)


@pytest.mark.parametrize("name", NAMES)
def test_pruned_and_recovered_artifact_matches_torch_and_its_predicted_shapes(name, compressors, tmp_path):
    compressor = compressors(name)
    recipe = Recipe(keep=halved(compressor.network), recovery=RECOVERY)
    result = compressor.build(recipe, tmp_path).only
    check_outputs(run(result.artifact.path, result.check.inputs), result.check)
    stored = sum(numpy_helper.to_array(t).size for t in onnx.load(result.artifact.path).graph.initializer)
    assert stored >= compressor.network.cost(recipe).parameters
    assert result.artifact.size_bytes >= compressor.network.cost(recipe).weight_bytes


def test_batch_size_is_free_in_every_artifact(compressors, tmp_path):
    compressor = compressors("residual")
    result = compressor.build(Recipe(precision=all_int8(compressor.network)), tmp_path).only
    inputs = result.check.inputs[0]
    together = run(result.artifact.path, [inputs[:5]])[0]
    alone = np.concatenate([run(result.artifact.path, [inputs[i : i + 1]])[0] for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_same_recipe_gives_the_same_bytes(compressors, tmp_path):
    recipe = Recipe(keep=halved(compressors("residual").network), recovery=RECOVERY)
    digests = {compressors("residual").build(recipe, tmp_path).only.artifact.digest for _ in range(2)}
    assert len(digests) == 1


def test_one_int8_layer_leaves_the_others_float32(compressors, tmp_path):
    result = compressors("residual").build(Recipe(precision={"body.0.0": "int8"}), tmp_path).only
    model = onnx.load(result.artifact.path)
    assert {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8} == {
        "body.0.0.weight_q"
    }
    check_outputs(run(result.artifact.path, result.check.inputs), result.check)


def test_denormal_weights_are_flushed(tmp_path):
    task = tiny_task("mlp")
    with torch.no_grad():
        task.model[0].weight[0] = 1e-40
    result = Compressor(task, Network.trace(task.model, task.example_inputs)).build(Recipe(), tmp_path).only
    arrays = [numpy_helper.to_array(t) for t in onnx.load(result.artifact.path).graph.initializer]
    tiny = np.finfo(np.float32).tiny
    assert all(not ((a != 0) & (np.abs(a) < tiny)).any() for a in arrays if a.dtype == np.float32)


def test_wrong_answers_are_refused(compressors, tmp_path):
    result = compressors("mlp").build(Recipe(), tmp_path).only
    outputs = run(result.artifact.path, result.check.inputs)
    with pytest.raises(StageError, match="differs from torch") as error:
        check_outputs([outputs[0] * 1.5], result.check)
    assert error.value.kind == "wrong-output"


def test_exploding_recovery_is_a_failure_of_its_stage(compressors, tmp_path):
    recovery = Recovery(steps=4, learning_rate=1e30, temperature=1.0, weight=0.5)
    with pytest.raises(StageError) as error:
        compressors("mlp").build(Recipe(recovery=recovery), tmp_path)
    assert error.value.stage == "recover"


def test_layers_with_equal_and_zero_biases_keep_their_own(tmp_path):
    task = tiny_task("mlp")
    with torch.no_grad():
        for layer in (task.model[0], task.model[2]):
            layer.bias.zero_()
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs))
    int8 = compressor.build(Recipe(precision=all_int8(compressor.network)), tmp_path).only
    check_outputs(run(int8.artifact.path, int8.check.inputs), int8.check)
    recovered = compressor.build(Recipe(recovery=RECOVERY), tmp_path).only
    check_outputs(run(recovered.artifact.path, recovered.check.inputs), recovered.check)


def test_template_is_read_from_its_cache(tmp_path, monkeypatch):
    task = tiny_task("mlp")
    network = Network.trace(task.model, task.example_inputs)
    first = Compressor(task, network, cache_dir=tmp_path / "cache").build(Recipe(), tmp_path).only
    monkeypatch.setattr(
        "autocompress.compress.onnx_file.templates.export_template", lambda *_: pytest.fail("exported again")
    )
    again = Compressor(task, network, cache_dir=tmp_path / "cache").build(Recipe(), tmp_path).only
    assert first.artifact.digest == again.artifact.digest


def test_a_template_on_disk_has_none_of_the_weights(tmp_path):
    task = tiny_task("mlp")
    network = Network.trace(task.model, task.example_inputs)
    Compressor(task, network, cache_dir=tmp_path / "cache").build(Recipe(), tmp_path)
    (file,) = (tmp_path / "cache").glob("template-*.onnx")
    stored = {tensor.name: tensor for tensor in onnx.load(file).graph.initializer}
    held = [stored[name] for name in task.model.state_dict() if name in stored]
    assert held and all(tensor.dims and not tensor.raw_data for tensor in held)


def test_the_oldest_templates_go(tmp_path, monkeypatch):
    monkeypatch.setattr("autocompress.compress.onnx_file.template_cache.LIMIT_BYTES", 1500)
    task = tiny_task("mlp")
    old = tmp_path / "cache" / "template-old.onnx"
    old.parent.mkdir()
    old.write_bytes(bytes(1400))
    os.utime(old, (1, 1))
    network = Network.trace(task.model, task.example_inputs)
    Compressor(task, network, cache_dir=tmp_path / "cache").build(Recipe(), tmp_path)
    assert not old.exists()


@pytest.mark.parametrize("ending", ["onnx", "json"])
def test_a_damaged_template_is_exported_again(tmp_path, ending, caplog):
    task = tiny_task("mlp")
    network = Network.trace(task.model, task.example_inputs)
    first = Compressor(task, network, cache_dir=tmp_path / "cache").build(Recipe(), tmp_path).only
    (file,) = (tmp_path / "cache").glob(f"template-*.{ending}")
    data = file.read_bytes()
    for changed in (data[:-30] + bytes([data[-30] ^ 1]) + data[-29:], data[:40], b"", b"[" * 100_000):
        file.write_bytes(changed)
        again = Compressor(task, network, cache_dir=tmp_path / "cache").build(Recipe(), tmp_path).only
        assert again.artifact.digest == first.artifact.digest and "is made again" in caplog.text
        assert file.read_bytes() == data


def test_another_format_is_built_of_the_same_student(tmp_path, monkeypatch):
    other, task = FileFormat(opset=20), tiny_task("residual")
    compressor = Compressor(
        task, Network.trace(task.model, task.example_inputs), CompressorOptions(formats=(FileFormat(), other))
    )
    calls: list[Recipe] = []
    make = compressor.students.make

    def counting(recipe, *rest):
        calls.append(recipe)
        return make(recipe, *rest)

    monkeypatch.setattr(compressor.students, "make", counting)
    result = compressor.build(Recipe(precision=all_int8(compressor.network)), tmp_path)
    files = [built.artifact.path for built in result.by_format.values()]
    assert len(calls) == 1 and [onnx.load(file).opset_import[0].version for file in files] == [21, 20]
    check_outputs(run(files[1], result.of(other).check.inputs), result.of(other).check)
