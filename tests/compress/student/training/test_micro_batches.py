"""A training step in parts is the step in one batch."""

from contextlib import nullcontext

import pytest
import torch
from autocompress.compress import Recovery
from autocompress.compress.graph.graph import clone, get_tensor, running_means
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.student.distance import Distance, OutputDistance
from autocompress.compress.student.training import recover
from autocompress.compress.student.training.micro_batches import (
    affordable,
    parts_of_batch,
    saved_bytes,
)
from autocompress.compress.student.training.recover import distill
from autocompress.tasks import classes
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.present import present
from torch import nn

DISTANCE = Distance(outputs=(OutputDistance(kind=classes(), scale=1.0),))
ONE_STEP = Recovery(steps=1, learning_rate=1e-2, temperature=2.0, weight=0.5)


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    """In bfloat16, where the processor has it, sums of parts round otherwise than those of the whole."""
    monkeypatch.setattr(recover, "mixed_precision", lambda **_: nullcontext())


def trained(name, monkeypatch, *, size=None, memory_bytes=None, recovery=ONE_STEP):
    """The gradients of the last step and the student, whose weights differ from the original's."""
    task = tiny_task(name)
    original = trace(task.model, task.example_inputs)
    student, generator = clone(original), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    if size is not None:
        monkeypatch.setattr(recover._Training, "_affordable", lambda *_, **__: size)
    batch = (tuple(x[:50] for x in task.train.inputs), task.train.targets[:50])
    distill(
        student, original, task.loss, lambda _: iter([batch] * recovery.steps), recovery,
        distance=DISTANCE, seed=0, memory_bytes=memory_bytes,
    )  # fmt: skip
    return {name: one.grad for name, one in student.named_parameters()}, student


@pytest.mark.parametrize("steps", [1, 2], ids=["samples", "mixtures"])
def test_gradients_of_parts_add_up_to_those_of_the_batch(steps, monkeypatch):
    recovery = Recovery(steps=steps, learning_rate=1e-3, temperature=2.0, weight=0.5)
    whole, _ = trained("encoder", monkeypatch, size=50, recovery=recovery)
    parts, _ = trained("encoder", monkeypatch, size=16, recovery=recovery)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


def test_statistics_of_normalizations_are_learned_once_a_step(monkeypatch):
    norm = nn.BatchNorm1d(4)
    module = nn.Sequential(nn.Linear(3, 4), norm)
    graph = trace(module.eval(), (torch.randn(2, 3),))
    student = clone(graph)
    (name,) = running_means(student)
    x = torch.randn(32, 3)
    distance = Distance(outputs=(OutputDistance(kind=classes(), scale=1.0),))
    means = []
    for size in (32, 8):
        monkeypatch.setattr(recover._Training, "_affordable", lambda *_, size=size, **__: size)
        student = clone(graph)
        distill(
            student, graph, nn.functional.cross_entropy, lambda _: iter([((x,), torch.zeros(32).long())]),
            Recovery(steps=1, learning_rate=1e-9, temperature=1.0, weight=0.0), distance=distance, seed=0,
        )  # fmt: skip
        means.append(get_tensor(student, name))
    with torch.no_grad():
        expected = 0.9 * present(norm.running_mean) + 0.1 * module[0](x).mean(0)
    torch.testing.assert_close(means[0], expected)
    torch.testing.assert_close(means[1], expected)


def test_what_a_step_keeps_is_measured_and_decides_the_parts(monkeypatch):
    sizes = []
    accumulate = recover._Training._accumulate

    def watched(self, batch, size, **more):
        sizes.append(size)
        return accumulate(self, batch, size, **more)

    monkeypatch.setattr(recover._Training, "_accumulate", watched)
    for memory_bytes in (None, 1 << 30, 20_000, 1):
        trained("mlp", monkeypatch, memory_bytes=memory_bytes)
    assert sizes[:2] == [50, 50] and 1 < sizes[2] < 50 and sizes[3] == 1


def test_saved_bytes_are_those_of_activations_without_parameters():
    layers = nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 4))
    x = torch.randn(5, 8)
    kept = saved_bytes(lambda: layers(x).sum(), known=layers.parameters())
    assert kept == 4 * (5 * 8 + 5 * 16)  # the input, and the sigmoid's output for both of its readers


def test_a_failed_half_leaves_no_gradients_and_no_statistics_behind(monkeypatch):
    whole, _ = trained("mlp", monkeypatch, size=25)
    backward, calls = torch.Tensor.backward, []

    def failing(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("once")
        return backward(self, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "backward", failing)
    again, _ = trained("mlp", monkeypatch, size=50)
    for name, gradient in whole.items():
        torch.testing.assert_close(again[name], gradient)


def test_targets_of_any_form_are_divided_with_their_samples():
    x, y = torch.arange(6.0)[:, None], torch.arange(6)
    for targets in (y, (y, y), {"a": y, "b": [y, y]}, [{"boxes": torch.zeros(n, 4)} for n in range(6)]):
        parts = list(parts_of_batch(((x,), targets), 4))
        assert [share for _, share in parts] == [4 / 6, 2 / 6]
        assert [len(part[0][0]) for part, _ in parts] == [4, 2]
    ((_, last), _) = parts[1]
    assert [len(one["boxes"]) for one in last] == [4, 5]
    assert [share for _, share in parts_of_batch(((x,), torch.tensor(1.0)), 4)] == [1.0]


def test_parts_are_halves_of_the_batch_that_fit():
    assert affordable(128, 1.0, 1 << 20) == 128
    assert affordable(128, 1e6, int(50e6)) == 32
    assert affordable(128, 1e6, 1, multiple=8) == 8
