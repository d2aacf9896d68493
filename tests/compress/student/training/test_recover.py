"""Recovery brings a damaged model back towards the original."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from autocompress.compress import Recovery
from autocompress.compress.graph.graph import clone, get_tensor, running_statistics
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.student.distance import Distance, OutputDistance
from autocompress.compress.student.training import recover
from autocompress.compress.student.training.features import feature_loss, feature_nodes, with_features
from autocompress.compress.student.training.recover import Schedule, distill
from autocompress.tasks import classes
from autocompress.tests.compress.tasks import tiny_task

DISTANCE = Distance(outputs=(OutputDistance(kind=classes(), scale=1.0),))
RECOVERY = Recovery(steps=150, learning_rate=1e-2, temperature=2.0, weight=1.0)


@pytest.fixture
def damaged():
    """A perceptron and the same with noise on its weights; its task."""
    task = tiny_task("mlp")
    original = trace(task.model, task.example_inputs)
    student, generator = clone(original), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(
                1.5 * parameter.std(correction=0) * torch.randn(parameter.shape, generator=generator)
            )
    return task, original, student


def distance(student, original, task):
    inputs = task.validation.inputs
    with torch.inference_mode():
        return DISTANCE.value(student(*inputs), original(*inputs))


def test_distillation_brings_the_student_closer_to_the_original(damaged):
    task, original, student = damaged
    before = distance(student, original, task)
    batches = iter([(tuple(x[:128] for x in task.train.inputs), task.train.targets[:128])] * RECOVERY.steps)
    distill(student, original, task.loss, lambda _: batches, RECOVERY, distance=DISTANCE, seed=0)
    assert distance(student, original, task) < 0.5 * before


def test_a_killed_training_goes_on_from_its_checkpoint(damaged, tmp_path, monkeypatch):
    task, original, student = damaged
    monkeypatch.setattr("autocompress.compress.student.training.recover.CHECKPOINT_S", 0.0)
    batch = (tuple(x[:64] for x in task.train.inputs), task.train.targets[:64])
    schedule = Schedule(steps=20, checkpoint=tmp_path / "state.ckpt")

    def killed(message):
        if message == "recover 10/20":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(
            student,
            original,
            task.loss,
            lambda _: iter([batch] * 20),
            RECOVERY,
            distance=DISTANCE,
            seed=0,
            schedule=schedule,
            progress=killed,
        )
    messages: list[str] = []
    fresh = clone(original)
    distill(
        fresh,
        original,
        task.loss,
        lambda _: iter([batch] * 20),
        RECOVERY,
        distance=DISTANCE,
        seed=0,
        schedule=schedule,
        progress=messages.append,
    )
    assert messages[0] == "recover 11/20" and len(messages) == 10


def spoiled(state: Path, how: str) -> None:
    """Damages the file of a training's state."""
    data = state.read_bytes()
    if how == "flipped":
        state.write_bytes(data[:-20_000] + bytes([data[-20_000] ^ 1]) + data[-19_999:])
    elif how == "another":
        torch.save({"student": {}, "best": (0.0, None), "step": 3, "elapsed_s": 0.0}, state)
    else:
        state.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"nothing"}[how])


@pytest.mark.parametrize("how", ["flipped", "another", "cut", "empty", "text"])
def test_a_training_with_a_damaged_state_starts_anew(damaged, tmp_path, monkeypatch, how, caplog):
    task, original, student = damaged
    monkeypatch.setattr("autocompress.compress.student.training.recover.CHECKPOINT_S", 0.0)
    batch = (tuple(x[:64] for x in task.train.inputs), task.train.targets[:64])
    state = tmp_path / "state.ckpt"

    def trained(checkpoint):
        copy = clone(student)
        schedule = Schedule(steps=4, checkpoint=checkpoint)
        distill(
            copy,
            original,
            task.loss,
            lambda _: iter([batch] * 4),
            RECOVERY,
            distance=DISTANCE,
            seed=0,
            schedule=schedule,
        )
        return copy.state_dict()

    expected = trained(None)
    trained(state)
    spoiled(state, how)
    again = trained(state)
    assert all(torch.equal(again[name], expected[name]) for name in expected)
    assert "starts anew" in caplog.text


def test_a_training_of_some_seconds_ends_after_them(damaged, monkeypatch):
    monkeypatch.setattr(
        recover, "time", SimpleNamespace(monotonic=itertools.count(0, 0.01).__next__)
    )  # a look at it takes 10 ms
    task, original, student = damaged
    batch = (tuple(x[:64] for x in task.train.inputs), task.train.targets[:64])
    messages: list[str] = []
    schedule = Schedule(steps=1, seconds=0.5)
    distill(
        student,
        original,
        task.loss,
        lambda _: iter(lambda: batch, None),
        RECOVERY,
        distance=DISTANCE,
        seed=0,
        schedule=schedule,
        progress=messages.append,
    )
    assert 45 < len(messages) < 55 and "%" in messages[-1]


@pytest.mark.parametrize(
    ("worse_by", "of_first_look"),
    [([1.0, 1.1, 0.9, 1.0], True), ([3.0, -2.0, 1.0, -1.9], False), ([1.0, math.nan, 1.0, 1.0], True)],
    ids=["every sample says so", "it may be chance", "the last one has no numbers"],
)
def test_an_earlier_state_is_kept_where_it_is_shown_to_be_better(damaged, worse_by, of_first_look):
    task, original, student = damaged
    batch = (tuple(x[:64] for x in task.train.inputs), task.train.targets[:64])
    states = []

    def validate():
        states.append({name: value.clone() for name, value in student.state_dict().items()})
        scores = -len(states) * torch.tensor(worse_by)
        return scores if len(states) == 6 else scores.nan_to_num()

    distill(
        student,
        original,
        task.loss,
        lambda _: iter([batch] * 40),
        RECOVERY,
        distance=DISTANCE,
        seed=0,
        schedule=Schedule(steps=40),
        validate=validate,
    )
    assert len(states) == 6
    expected = states[0 if of_first_look else -1]
    assert all(torch.equal(value, student.state_dict()[name]) for name, value in expected.items())


def test_normalizations_learn_statistics_from_samples_not_from_mixtures(monkeypatch):
    task = tiny_task("depthwise")
    original = trace(task.model, task.example_inputs)
    batch = (tuple(x[:64] for x in task.train.inputs), task.train.targets[:64])

    def statistics_after_two_steps(mixtures):
        monkeypatch.setattr(recover, "mixtures", lambda _, step: mixtures if step % 2 else None)
        student = clone(original)
        distill(
            student,
            original,
            task.loss,
            lambda _: iter([batch] * 2),
            replace(RECOVERY, learning_rate=1e-12),
            distance=DISTANCE,
            seed=0,
            schedule=Schedule(steps=2),
        )
        return torch.cat([get_tensor(student, name) for name in running_statistics(student)])

    start = torch.cat([get_tensor(original, name) for name in running_statistics(original)])
    learned = statistics_after_two_steps(None) - start
    beside_mixtures = statistics_after_two_steps(tuple(100 * x for x in batch[0])) - start
    assert learned.abs().max() > 0.01
    torch.testing.assert_close(
        1.9 * beside_mixtures, learned, rtol=1e-2, atol=1e-3
    )  # momentum 0.1, once of twice


def test_features_are_the_sums_of_both_models_and_bring_them_together():
    task = tiny_task("encoder")
    original = trace(task.model, task.example_inputs)
    student = clone(original)
    with torch.no_grad():
        next(parameter for parameter in student.parameters() if parameter.dim() == 2).mul_(0.5)
    names = feature_nodes(student, original)
    assert names and all(name.startswith("add") for name in names)
    inputs = task.train.inputs

    def distance_of_features():
        with torch.inference_mode():
            (answers, ours), (_, theirs) = (
                with_features(module, names)(*inputs) for module in (student, original)
            )
            assert torch.equal(answers, student(*inputs))
        return float(feature_loss(ours, theirs))

    before = distance_of_features()
    recovery = Recovery(steps=40, learning_rate=1e-2, temperature=1.0, weight=0.0, features=1.0)
    batch = (tuple(x[:128] for x in inputs), task.train.targets[:128])
    distill(
        student,
        original,
        lambda outputs, _: 0 * outputs.sum(),
        lambda _: iter([batch] * 40),
        recovery,
        distance=DISTANCE,
        seed=0,
    )
    assert distance_of_features() < 0.7 * before


def test_normalizations_learn_statistics_where_features_are_compared_too():
    task = tiny_task("depthwise")
    original = trace(task.model, task.example_inputs)
    student = clone(original)
    recovery = replace(RECOVERY, learning_rate=1e-12, weight=0.0, features=1.0)
    batch = (tuple(x[:64] for x in task.train.inputs), task.train.targets[:64])
    schedule = Schedule(steps=1)
    distill(
        student,
        original,
        task.loss,
        lambda _: iter([batch]),
        recovery,
        distance=DISTANCE,
        seed=0,
        schedule=schedule,
    )
    for name in running_statistics(student):
        assert not torch.equal(get_tensor(student, name), get_tensor(original, name)), name
