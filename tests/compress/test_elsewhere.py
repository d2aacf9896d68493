"""The whole way from a recipe to a file on a second device: the same as on the CPU, and nothing mixed.

`tests/elsewhere.py` is the device; no GPU is needed. The tests marked `gpu` want one.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.options import CompressorOptions
from autocompress.compress.recipe import Recovery
from autocompress.compress.stages import StageClock
from autocompress.errors import StageError
from autocompress.tasks.check import check_task
from autocompress.tasks.outputs.derive import output_kinds
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.elsewhere import ELSEWHERE, Elsewhere, There

MODELS = ("residual", "grouped", "encoder", "gru", "two_inputs", "gpt")
RECOVERY = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.7, features=0.1)


@pytest.fixture(autouse=True)
def no_bfloat16(monkeypatch):
    """Both devices compute in float32, which the second one has alone."""
    for module in ("levels.running", "student.effort"):
        monkeypatch.setattr(f"autocompress.compress.{module}.has_bfloat16", lambda *_: False)


def compressor_of(name, device="cpu", **options):
    task = tiny_task(name)
    task = replace(task, outputs=output_kinds(task))
    network = Network.trace(task.model, task.example_inputs)
    chosen = CompressorOptions(device=str(device), database_samples=64, refit_samples=64, **options)
    return Compressor(task, network, chosen)


def recipes_of(network):
    """Some of every kind of change."""
    recipes = [Recipe(keep={group.name: max(1, group.channels // 2)}) for group in network.groups[:2]]
    layers = [layer.name for layer in network.layers if not layer.float_only]
    kinds: tuple[Any, ...] = ("int8", "int4", "w4", "dynamic8", "fp8", "float16", "int8_24", "block4")
    recipes += [Recipe(precision={layers[-1]: kind}) for kind in kinds]
    recipes += [Recipe(skip=(block.name,)) for block in network.blocks[:1]]
    return [*recipes, replace(recipes[0], precision=dict.fromkeys(layers[:2], "int4"))]


def probed(compressor):
    """The KL of each recipe."""
    return [compressor.probe.kl(recipe) for recipe in recipes_of(compressor.network)]


def student_of(compressor, recipe):
    return compressor.students.make(recipe, StageClock(), lambda _: None, None)


def assert_equal_students(one, other):
    """They are on the CPU, with nearly equal tensors."""
    theirs = other.module.state_dict()
    for name, tensor in one.module.state_dict().items():
        assert not isinstance(theirs[name], There), name
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-4)
    assert one.steps.keys() == other.steps.keys()
    assert not any(isinstance(step, There) for step in other.steps.values())


@pytest.mark.parametrize("name", MODELS)
def test_the_probe_is_the_same_elsewhere(name):
    one, other = compressor_of(name), compressor_of(name, ELSEWHERE)
    here = probed(one)
    with Elsewhere() as elsewhere:
        there = probed(other)
        shared = [kl for _, kl in other.probe.sensitivities(recipes_of(other.network))]
    assert there == pytest.approx(here, rel=1e-3, abs=1e-6)
    assert sorted(shared) == pytest.approx(sorted(there), rel=1e-4, abs=1e-6)
    assert elsewhere.names("there") and elsewhere.names("here") <= {"aten.bmm.default"}  # means, for biases


def entries(database):
    """Moments, levels and orders of a database, made anew."""
    moments = {layer: database.moments[layer] for layer in database.moments}
    levels = {layer: [database.level(layer, bits=bits) for bits in (None, 4)] for layer in moments}
    return moments, levels, [database.removal(group) for group in database.network.groups]


@pytest.mark.parametrize("name", MODELS)
def test_moments_levels_and_orders_are_the_same_elsewhere_and_come_to_the_cpu(name):
    moments, levels, orders = entries(compressor_of(name).students.database)
    with Elsewhere() as elsewhere:
        made = entries(compressor_of(name, ELSEWHERE).students.database)
    assert made[2] == orders
    for layer, (whole, rounded) in levels.items():
        torch.testing.assert_close(made[0][layer].second, moments[layer].second)
        assert made[1][layer][1].error == pytest.approx(rounded.error, rel=1e-3)
        assert not any(isinstance(level.values, There) for level in made[1][layer])
        torch.testing.assert_close(made[1][layer][0].values, whole.values)
    assert "aten.linalg_inv_ex.default" in elsewhere.names("there") or not orders


def test_what_a_gpu_made_is_read_on_gpus_alone():
    keys = {compressor_of("mlp", device).students.database.key for device in ("cpu", "cuda:0", "cuda:1")}
    assert len(keys) == 2


@pytest.mark.parametrize("name", MODELS)
def test_fitting_is_the_same_elsewhere(name):
    one, other = compressor_of(name), compressor_of(name, ELSEWHERE)
    for recipe in (recipes_of(one.network)[0], recipes_of(one.network)[-1]):
        fitted = student_of(one, recipe)
        with Elsewhere():
            assert_equal_students(fitted, student_of(other, recipe))


@pytest.mark.parametrize("name", MODELS)
def test_a_recovery_is_the_same_elsewhere(name):
    one, other = compressor_of(name), compressor_of(name, ELSEWHERE)
    recipe = replace(recipes_of(one.network)[-1], recovery=RECOVERY)
    trained = student_of(one, recipe)
    with Elsewhere():
        assert_equal_students(trained, student_of(other, recipe))


@pytest.mark.parametrize("precision", ["w4", "int4", "float16", "int8_24"])
def test_weights_of_any_precision_are_trained_elsewhere(precision):
    compressor = compressor_of("gru", ELSEWHERE)
    layers = [layer for layer in compressor.network.layers if not layer.refusal(precision)]
    recipe = Recipe(precision={layer.name: precision for layer in layers}, recovery=RECOVERY)
    with Elsewhere():
        student = student_of(compressor, recipe)
    assert all(tensor.isfinite().all() for tensor in student.module.state_dict().values())


def test_a_file_is_built_elsewhere_and_answers_as_it_should(tmp_path):
    compressor = compressor_of("residual", ELSEWHERE)
    layers = [layer.name for layer in compressor.network.layers]
    recipe = Recipe(keep=recipes_of(compressor.network)[0].keep, precision=dict.fromkeys(layers, "int8"))
    with Elsewhere():
        built = compressor.build(recipe, tmp_path).only
    answers = run(built.artifact.path, built.check.inputs)
    assert all(isinstance(answer, np.ndarray) for answer in answers)
    check_outputs(answers, built.check)


@pytest.mark.parametrize(("name", "most"), [("residual", 50_000), ("encoder", 10_000)])
def test_what_does_not_fit_elsewhere_is_done_in_halves(name, most):
    one, other = compressor_of(name), compressor_of(name, ELSEWHERE)
    here = probed(one)
    recipe = recipes_of(one.network)[0]
    with Elsewhere(most=most) as elsewhere:
        there = probed(other)
        student = student_of(other, recipe)
    assert elsewhere.refused and there == pytest.approx(here, rel=0.3, abs=1e-4)
    assert all(tensor.isfinite().all() for tensor in student.module.state_dict().values())


def test_a_model_that_does_not_fit_elsewhere_is_an_error_of_memory():
    compressor = compressor_of("residual", ELSEWHERE)
    with Elsewhere(most=10), pytest.raises(StageError, match="out of memory") as failure:
        compressor.probe.kl(Recipe(skip=("body",)))
    assert failure.value.kind == "memory"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["residual", "encoder", "gru"])
def test_the_probe_on_a_gpu_gives_nearly_what_it_gives_here(name):
    here, there = probed(compressor_of(name)), probed(compressor_of(name, "cuda:0"))
    assert there == pytest.approx(here, rel=0.1, abs=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["residual", "encoder"])
def test_moments_and_levels_of_a_gpu_are_nearly_those_of_the_cpu(name):
    moments, levels, _ = entries(compressor_of(name).students.database)
    made = entries(compressor_of(name, "cuda:0").students.database)
    for layer, (whole, rounded) in levels.items():
        assert made[0][layer].second.device.type == made[1][layer][1].values.device.type == "cpu"
        torch.testing.assert_close(made[0][layer].second, moments[layer].second, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(made[1][layer][0].values, whole.values, rtol=1e-2, atol=1e-3)
        assert made[1][layer][1].error == pytest.approx(rounded.error, rel=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["residual", "encoder"])
def test_fitting_on_a_gpu_gives_nearly_what_it_gives_here(name):
    one, other = compressor_of(name), compressor_of(name, "cuda:0")
    recipe = recipes_of(one.network)[0]
    fitted, theirs = (student_of(each, recipe).module for each in (one, other))
    inputs = tuple(x[:32] for x in one.task.train.inputs)
    torch.testing.assert_close(theirs(*inputs), fitted(*inputs), rtol=0.05, atol=0.05)


@pytest.mark.gpu
def test_a_model_is_scored_on_a_gpu_as_here():
    task = tiny_task("residual")
    assert check_task(task, device="cuda:0").baseline == check_task(task).baseline == 1
