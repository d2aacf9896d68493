"""What the student of a recipe is made of: samples, and recipes that do not fit the model."""

from dataclasses import replace

import pytest
import torch
from autocompress.compress import Recipe
from autocompress.compress.graph.graph import (
    argument,
    batch_norms,
    clone,
    get_tensor,
    layer_nodes,
    running_statistics,
    set_tensor,
)
from autocompress.compress.levels.value_grids import rounded_to_bits
from autocompress.compress.options import CompressorOptions
from autocompress.compress.recipe import Recovery
from autocompress.compress.stages import StageClock
from autocompress.compress.student.original import Original
from autocompress.compress.student.samples import Samples
from autocompress.errors import OutOfTime, StageError
from autocompress.tests.compress.random_recipes import random_recipes
from autocompress.tests.compress.tasks import tiny_task
from torch.utils.data import DataLoader


def test_a_loader_with_small_batches_still_gives_the_samples_that_are_asked_for():
    task = tiny_task("chain")
    object.__setattr__(task, "train", DataLoader(task.train, batch_size=4, shuffle=True))
    samples = Samples(task, CompressorOptions())
    assert sum(len(inputs[0]) for inputs in samples.augmented("refit", 64)) == 64


def test_calibration_inputs_are_the_same_in_every_process_even_from_a_shuffling_loader():
    task = tiny_task("chain")
    object.__setattr__(task, "train", DataLoader(task.train, batch_size=4, shuffle=True))
    first, second = (Samples(task, CompressorOptions()).first(32)[0] for _ in range(2))
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(precision={"nothing": "int8"}), "no such layer"),
        (Recipe(rank={"nothing": 8}), "no layer that can be factored"),
        (Recipe(skip=("nothing",)), "no residual block"),
    ],
    ids=["precision", "rank", "skip"],
)
def test_a_recipe_for_another_model_is_a_failure_not_an_unchanged_model(
    recipe, message, compressors, tmp_path
):
    with pytest.raises(StageError, match=message):
        compressors("residual").build(recipe, tmp_path)


def test_a_tied_embedding_keeps_its_table_when_the_classifiers_inputs_are_pruned(compressors):
    compressor = compressors("decoder")
    network = compressor.network
    tied = next(layer for layer in network.layers if "embedding" in layer.float_only)
    keep = {group.name: max(1, group.channels // 2) for group in network.groups}
    student = compressor.students.make(Recipe(keep=keep), StageClock(), lambda _: None, None)
    assert torch.equal(student.module.get_parameter(tied.weight), network.module.get_parameter(tied.weight))


@pytest.mark.parametrize("name", ["depthwise", "chain"])
def test_eight_bit_weights_answer_more_like_the_original_than_the_nearest_ones(name, compressors):
    students = compressors(name).students
    recipe = Recipe(precision=dict.fromkeys([layer.name for layer in students.network.layers], "w8"))
    made = students.make(recipe, StageClock(), lambda _: None, None).module
    nearest = clone(students.network.module)
    for _, node in layer_nodes(nearest):
        weight = str(argument(node, 1).target)
        tensor = get_tensor(nearest, weight).detach()
        set_tensor(nearest, weight, rounded_to_bits(tensor, bits=8, axis=0))
    (inputs,) = students.samples.first(128)
    with torch.no_grad():
        expected = students.network.module(*inputs)
        errors = [float((module(*inputs) - expected).square().mean()) for module in (made, nearest)]
    assert 0 < errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("name", ["depthwise", "chain", "residual"])
def test_the_means_of_a_pruned_models_normalizations_move_once(name, compressors):
    students = compressors(name).students
    network = students.network
    keep = {group.name: max(1, group.channels // 2) for group in network.groups[:1]}
    recipe = Recipe(keep=keep, precision={network.layers[0].name: "w6"})
    student = students.make(recipe, StageClock(), lambda _: None, None)
    masks, (inputs,) = (
        students.statistics.remaining(student),
        students.original.parts(students.samples.first(256)),
    )
    for node in batch_norms(student.module):
        mean = str(argument(node, 3).target)
        wide, narrow = (read_by(module, node.name, inputs) for module in (network.module, student.module))
        mask = masks.get(mean, torch.ones(len(wide), dtype=torch.bool))
        old, new = get_tensor(network.module, mean)[mask], get_tensor(student.module, mean)
        spread = (wide[mask] - narrow).abs().max() + 0.01
        torch.testing.assert_close(new - old, narrow - wide[mask], atol=0.3 * float(spread), rtol=0)


def read_by(module, norm, inputs):
    """The mean of each channel that a normalization reads."""
    run = torch.fx.Interpreter(module, garbage_collect_values=False)
    run.run(*inputs)
    node = next(node for node in module.graph.nodes if node.name == norm)
    return run.env[argument(node, 0)].detach().transpose(0, 1).flatten(1).mean(1)


def test_a_recovery_looks_at_the_clock_in_front_of_each_step(compressors):
    students = compressors("mlp").students
    told: list[str] = []

    def over():
        if told:
            raise OutOfTime("over")

    students.between = over
    recipe = Recipe(recovery=Recovery(steps=10_000, learning_rate=2e-3, temperature=4.0, weight=0.9))
    with pytest.raises(OutOfTime):
        students.make(recipe, StageClock(), told.append, None)
    students.between = lambda: None
    assert len(told) == 1


@pytest.mark.parametrize("name", ["depthwise", "residual"])
def test_a_training_that_changes_no_weight_leaves_normalizations_as_they_were(name, compressors, monkeypatch):
    students = compressors(name).students
    monkeypatch.setattr(Original, "frozen_norms", frozenset())  # they are of networks with few data
    recovery = Recovery(steps=9, learning_rate=1e-12, temperature=4.0, weight=0.9)
    made = students.make(Recipe(recovery=recovery), StageClock(), lambda _: None, None).module
    original = students.network.module
    assert batch_norms(original)
    for statistic in running_statistics(original):
        torch.testing.assert_close(get_tensor(made, statistic), get_tensor(original, statistic))


def test_a_training_step_is_timed_on_a_copy(compressors):
    students = compressors("residual").students
    before = {name: tensor.clone() for name, tensor in students.network.module.state_dict().items()}
    recovery = Recovery(steps=100, learning_rate=1e-2, temperature=4.0, weight=0.9)
    assert 0 < students.time_step(recovery) < 10
    after = students.network.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("name", ["residual", "depthwise", "attention"])
def test_no_student_changes_the_original_whose_tensors_it_shares(name, compressors, tmp_path):
    compressor = compressors(name)
    module = compressor.network.module
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    recovery = Recovery(steps=2, learning_rate=0.1, temperature=4.0, weight=0.5)
    recipes = [*random_recipes(compressor.network, 3, seed="shared"), Recipe(recovery=recovery)]
    for recipe in recipes:
        compressor.students.stitched(recipe)
        for again in (recipe, replace(recipe, recovery=recovery)):
            compressor.build(again, tmp_path)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())
    assert module.state_dict().keys() == before.keys()
