"""The probe: divergences that rank candidates, and the same numbers when the recipes share the prefix of the
network.
"""

import dataclasses
import math

import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe
from autocompress.compress.recipe import Recovery
from autocompress.compress.student.probe import Probe
from autocompress.errors import StageError
from autocompress.tests.compress.tasks import tiny_task
from torch import fx, nn

RECOVERY = Recovery(steps=100, learning_rate=1e-3, temperature=4.0, weight=0.9)
MODELS = (
    "chain",
    "residual",
    "zero_padded_shortcut",
    "depthwise",
    "concat",
    "encoder",
    "decoder",
    "gru",
    "two_inputs",
    "mlp",
)


@pytest.fixture
def count_nodes(monkeypatch):
    """A list that grows by one with every operation that is run."""
    calls: list[object] = []
    original = fx.Interpreter.call_function

    def counting(self, target, *rest):
        calls.append(target)
        return original(self, target, *rest)

    monkeypatch.setattr(fx.Interpreter, "call_function", counting)
    return calls


def single_changes(network):
    """A recipe for every group, two precisions and every block."""
    recipes = [Recipe(keep={group.name: max(1, group.channels // 2)}) for group in network.groups]
    whole = [layer.name for layer in network.layers if not layer.float_only]
    recipes += [Recipe(precision={name: bits}) for name in whole for bits in ("int8", "int2")]
    return recipes + [Recipe(skip=(block.name,)) for block in network.blocks]


@pytest.mark.parametrize("name", MODELS)
def test_the_original_itself_has_no_divergence(name, compressors):
    assert compressors(name).probe.kl(Recipe()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_sharing_the_prefix_changes_no_number(name, compressors):
    compressor = compressors(name)
    recipes = single_changes(compressor.network)
    measured = {recipe.digest: value for recipe, value in compressor.probe.sensitivities(recipes)}
    assert measured.keys() == {recipe.digest for recipe in recipes}
    for recipe in recipes:
        assert measured[recipe.digest] == pytest.approx(compressor.probe.kl(recipe), rel=1e-2, abs=1e-6), (
            recipe
        )


def test_sharing_the_prefix_runs_fewer_nodes(compressors, count_nodes):
    compressor = compressors("chain")
    probe = compressor.probe
    recipes = [recipe for recipe in single_changes(compressor.network) if recipe.precision]
    probe.kl(Recipe())
    count_nodes.clear()
    for recipe in recipes:
        probe.kl(recipe)
    alone = len(count_nodes)
    count_nodes.clear()
    assert len([*probe.sensitivities(recipes)]) == len(recipes)
    assert len(count_nodes) < 0.8 * alone


def test_fewer_bits_and_channels_diverge_more(compressors):
    compressor = compressors("residual")
    group = compressor.network.groups[0]
    bits = [compressor.probe.kl(Recipe(precision={"body.1.0": name})) for name in ("int8", "int4", "int2")]
    divergences = [compressor.probe.kl(Recipe(keep={group.name: count})) for count in (group.channels - 1, 4)]
    assert 0 < bits[0] < bits[1] < bits[2] and 0 < divergences[0] < divergences[1]


def test_recovery_is_ignored(compressors):
    compressor, recipe = compressors("residual"), Recipe(precision={"stem.0": "int3"})
    assert compressor.probe.kl(recipe) == compressor.probe.kl(dataclasses.replace(recipe, recovery=RECOVERY))


def test_another_probe_of_the_task_tells_the_same(compressors):
    compressor, recipe = compressors("chain"), Recipe(precision={"1.0": "int3"})
    assert compressor.probe.kl(recipe) == Probe(compressor.students).kl(recipe)


def test_block4_rounds_the_weights(compressors):
    compressor = compressors("encoder")
    layer = next(
        layer.name
        for layer in compressor.network.layers
        if layer.kind == "linear" and layer.weight_shape[1] == 32
    )
    assert compressor.probe.kl(Recipe(precision={layer: "block4"})) > 0


def test_ranks_are_probed(compressors):
    compressor = compressors("encoder")
    layer = next(one.name for one in compressor.network.layers if one.weight_shape == (64, 32))
    few, more = (compressor.probe.kl(Recipe(rank={layer: rank})) for rank in (8, 16))
    assert 0 < more < few


def test_a_failing_recipe_is_left_out_and_the_others_go_on(compressors, caplog):
    probe = compressors("chain").probe
    good = Recipe(precision={"1.0": "int3"})
    measured = [*probe.sensitivities([Recipe(precision={"nothing": "int8"}), good])]
    assert [recipe for recipe, _ in measured] == [good] and "no such layer" in caplog.text


def test_a_recipe_for_another_model_is_a_stage_error(compressors):
    with pytest.raises(StageError):
        compressors("chain").probe.kl(Recipe(keep={"nothing": 3}))


def test_answers_that_are_not_finite_are_a_stage_error(compressors, monkeypatch):
    monkeypatch.setattr("autocompress.compress.student.distance.Distance.value", lambda *_: math.nan)
    with pytest.raises(StageError, match="not finite"):
        compressors("chain").probe.kl(Recipe(precision={"1.0": "int3"}))


def test_a_candidate_with_the_original_s_function_is_not_run(compressors, monkeypatch):
    monkeypatch.setattr("autocompress.compress.student.distance.Distance.value", lambda *_: math.nan)
    assert compressors("chain").probe.kl(Recipe(fused=True)) == 0.0


class Regressor(nn.Sequential):
    """One output column, whose scale must not matter."""

    def __init__(self, scale):
        super().__init__(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 1))
        with torch.no_grad():
            self[2].weight *= scale
            self[2].bias *= scale


def regression_kl(scale):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Regressor(scale).eval()
    task = dataclasses.replace(tiny_task("mlp"), model=model)
    compressor = Compressor(task, Network.trace(model, task.example_inputs))
    return compressor.probe.kl(Recipe(precision={"0": "int3"}))


def test_a_single_output_column_counts_relative_to_its_variance():
    small, large = regression_kl(1.0), regression_kl(64.0)
    assert 0 < small < 1 and small == pytest.approx(large, rel=1e-3)
