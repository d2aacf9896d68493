"""Statistics of batch normalizations move by what compression changed, and frozen ones stay frozen."""

import dataclasses

import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe, Recovery
from autocompress.compress.graph.graph import (
    argument,
    batch_norms,
    clone,
    get_tensor,
    set_training,
    weight_nodes,
)
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.stages import StageClock
from autocompress.compress.student.distance import Distance, OutputDistance
from autocompress.compress.student.normalization import (
    foreign_norms,
    moments_of,
    move_statistics,
    relearning,
)
from autocompress.errors import StageError
from autocompress.tasks.outputs.kinds import OutputKind
from autocompress.tests.compress.tasks import tiny_task
from torch.utils.data import TensorDataset


def statistics(module):
    names = [str(argument(node, index).target) for node in batch_norms(module) for index in (3, 4)]
    return {name: get_tensor(module, name).clone() for name in names}


@pytest.fixture
def residual():
    """A traced network with normalizations, whose statistics are its data's, and two batches."""
    task = tiny_task("residual")
    batches = [(x,) for x in task.train.inputs[0][:256].split(128)]
    task.model.train()
    with torch.no_grad():
        for _ in range(30):
            task.model(batches[0][0])
    task.model.eval()
    return trace(task.model, task.example_inputs), batches


def moved_copy(original, change, batches):
    student = clone(original)
    with torch.no_grad():
        change(student)
    move_statistics(student, batches, moments_of(original, batches), {})
    return student


def test_an_unchanged_model_keeps_its_statistics_exactly(residual):
    original, batches = residual
    student = moved_copy(original, lambda _: None, batches)
    before = statistics(original)
    assert all(torch.equal(tensor, before[name]) for name, tensor in statistics(student).items())


def test_a_layer_that_doubles_moves_mean_and_variance_with_it(residual):
    original, batches = residual
    first = batch_norms(original)[0]
    weight = str(weight_nodes(first.all_input_nodes[0])[0].target)
    student = moved_copy(original, lambda module: get_tensor(module, weight).mul_(2), batches)
    inputs = torch.cat([batch[0] for batch in batches])
    layer = torch.nn.functional.conv2d(inputs, get_tensor(original, weight), padding=1).detach()
    before, after = statistics(original), statistics(student)
    mean, variance = (str(argument(first, index).target) for index in (3, 4))
    torch.testing.assert_close(after[mean], before[mean] + layer.mean((0, 2, 3)), atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(after[variance], 4 * before[variance], rtol=1e-2, atol=1e-3)
    with torch.inference_mode():  # all that was lost is the doubling, which the normalization takes back
        torch.testing.assert_close(student(inputs), original(inputs), rtol=0.05, atol=0.05)


def test_statistics_of_a_single_value_are_refused(residual):
    original, batches = residual
    with pytest.raises(StageError, match="more training samples than one"):
        moved_copy(original, lambda _: None, [(batches[0][0] * torch.nan,)])


def settled(task):
    """The task's model with the statistics of its first training batch, and its normalizations."""
    model = clone(task.model)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    model.train()
    with torch.no_grad():
        for _ in range(50):
            model(task.train.inputs[0][:128])
    return model.eval(), norms


def foreign_task(shift=3.0):
    """A task whose first normalization has statistics of other data, `shift` standard deviations away."""
    task = tiny_task("residual")
    model, norms = settled(task)
    with torch.no_grad():
        mean, variance = norms[0].get_buffer("running_mean"), norms[0].get_buffer("running_var")
        mean.add_(shift * variance.sqrt())
    return dataclasses.replace(task, model=model)


def test_foreign_statistics_are_recognized_and_stay_frozen_in_recovery():
    task = foreign_task()
    network = Network.trace(task.model, task.example_inputs)
    students = Compressor(task, network).students
    first = batch_norms(network.module)[0]
    assert first.name in students.original.foreign_norms
    mean = str(argument(first, 3).target)
    recovery = Recovery(steps=10, learning_rate=1e-4, temperature=1.0, weight=0.9)
    recipe = Recipe(precision={network.layers[-1].name: "int4"}, recovery=recovery)
    student = students.make(recipe, StageClock(), lambda _: None, None)
    torch.testing.assert_close(get_tensor(student.module, mean), get_tensor(network.module, mean))


def test_statistics_of_the_data_are_not_foreign(residual):
    original, batches = residual
    assert foreign_norms(original, moments_of(original, batches)) == set()


def students_of(task):
    return Compressor(task, Network.trace(task.model, task.example_inputs)).students


@pytest.mark.parametrize(("shift", "count"), [(0.0, 500), (0.4, 2000)], ids=["as in a batch", "many samples"])
def test_statistics_are_learned_in_recovery_where_a_batch_has_them_too_or_samples_are_many(shift, count):
    task = foreign_task(shift=shift)
    inputs, targets = task.train.inputs[0], torch.zeros(count, dtype=torch.long)
    samples = inputs[:128].repeat(-(-count // 128), 1, 1, 1)[:count]
    students = students_of(dataclasses.replace(task, train=TensorDataset(samples, targets)))
    assert students.original.frozen_norms == set()


def test_all_statistics_are_frozen_where_samples_are_few_and_those_of_a_batch_change_the_answers():
    students = students_of(foreign_task(shift=0.4))
    assert students.original.frozen_norms == {node.name for node in batch_norms(students.network.module)}
    assert students.original.foreign_norms < students.original.frozen_norms


def test_relearning_is_the_distance_of_the_answers_in_the_form_for_training(residual):
    original, ((inputs,), *_) = residual
    training = clone(original)
    set_training(training, True)
    squares = OutputDistance(kind=OutputKind(meaning="values"), scale=1.0)
    with torch.no_grad():
        expected = (training(inputs) - original(inputs)).square().mean()
    found = relearning(original, (inputs,), Distance(outputs=(squares,)))
    assert found == pytest.approx(float(expected), rel=1e-4) and found > 0


@pytest.mark.parametrize(("shift", "share"), [(0.4, 0.25), (0.0, 1.0)], ids=["frozen", "learned"])
def test_frozen_normalizations_quarter_the_learning_rate(shift, share, monkeypatch):
    rates = []
    monkeypatch.setattr(
        "autocompress.compress.student.maker.distill",
        lambda student, teacher, loss, batches, recovery, **rest: rates.append(recovery.learning_rate),
    )
    task = foreign_task(shift=shift)
    inputs = task.train.inputs[0][:128].repeat(4, 1, 1, 1)
    few = TensorDataset(inputs, torch.zeros(len(inputs), dtype=torch.long))
    recovery = Recovery(steps=10, learning_rate=1e-3, temperature=1.0, weight=0.9)
    students_of(dataclasses.replace(task, train=few)).make(
        Recipe(recovery=recovery), StageClock(), lambda _: None, None
    )
    assert rates == [share * 1e-3]
