"""The digest of a task changes with what matters, and with nothing else."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from autocompress.tasks import Metric, Task, accuracy, data_digest, task_digest
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset


def error_rate(outputs: Tensor, targets: Tensor) -> float:
    return 1 - accuracy(outputs, targets)


def other_weights(task: Task) -> Task:
    model = nn.Linear(2, 2)
    model.load_state_dict({"weight": torch.eye(2), "bias": torch.ones(2)})
    return replace(task, model=model)


def one_label_changed(task: Task) -> Task:
    inputs, targets = task.test[:]  # type: ignore[index]
    return replace(task, test=TensorDataset(inputs, 1 - targets))


CHANGES: dict[str, Callable[[Task], Task]] = {
    "weights": other_weights,
    "metric's source": lambda task: replace(task, metric=replace(task.metric, function=error_rate)),
    "metric's direction": lambda task: replace(
        task, metric=Metric(name="accuracy", function=accuracy, direction="lower")
    ),
    "number of samples": lambda task: replace(
        task,
        train=Subset(task.train, range(199)),  # type: ignore[arg-type]
    ),
    "targets": one_label_changed,
    "loss": lambda task: replace(task, loss=nn.functional.mse_loss),
}


def test_the_digest_is_stable(task: Task) -> None:
    torch.rand(5)
    assert task_digest(task) == task_digest(replace(task, seed=7))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_digest_changes_with(task: Task, change: Callable[[Task], Task]) -> None:
    assert task_digest(change(task)) != task_digest(task)


def test_an_activation_changes_the_digest_though_the_weights_are_equal(task: Task) -> None:
    linear = nn.Linear(2, 2)
    first, second = (replace(task, model=nn.Sequential(linear, act)) for act in (nn.ReLU(), nn.GELU()))
    assert task_digest(first) != task_digest(second)


def test_a_shuffling_loader_has_a_stable_digest(task: Task) -> None:
    loader = DataLoader(task.train, batch_size=8, shuffle=True)  # type: ignore[arg-type]
    shuffled = replace(task, train=loader)
    assert data_digest(shuffled) == data_digest(shuffled)
