"""The check tells which batch size a model takes, where it does not take any."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import Task, check_task
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Reshaped(nn.Module):
    """`size` × 2 to `size` × 2; without a size 2 to 2."""

    def __init__(self, inner: nn.Module, size: int | None):
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, x: Tensor) -> Tensor:
        if self.size is None:
            result: Tensor = self.inner(x.reshape(1, 2)).reshape(2)
        else:
            result = self.inner(x.reshape(self.size, -1)[:, :2])
        return result


def changed(task: Task, size: int | None, example: Tensor, **fields: Any) -> Task:
    return replace(task, model=Reshaped(task.model, size), example_inputs=(example,), **fields)


def test_a_model_of_one_batch_size_scores_all_samples(task: Task) -> None:
    checked = check_task(changed(task, 7, torch.randn(2, 2), batch=7))
    assert checked.baseline == check_task(task).baseline and checked.task.batch == 7
    assert "batches of 7 only" in " ".join(checked.notes)


def test_a_model_of_single_samples_scores_like_one_of_batches(task: Task) -> None:
    checked = check_task(changed(task, None, torch.randn(2), batch=None))
    assert checked.baseline == check_task(task).baseline
    assert "inputs and outputs of the file have one, of size 1, in front" in " ".join(checked.notes)


TOLD = {
    "fixed": (5, torch.randn(5, 2), {}, "It runs on the 5 samples of example_inputs: .* batch=5"),
    "fixed to one": (1, torch.randn(1, 2), {}, "It runs on the sample of example_inputs: .* batch=1"),
    "single samples": (None, torch.randn(2), {}, r"the shape of one sample: .* \(x\[None\]\).* batch=None"),
    "another size": (5, torch.randn(4, 2), {"batch": 4}, "model failed"),
    "a word": (5, torch.randn(5, 2), {"batch": "five"}, "batch must be 'free', the only batch size"),
    "none": (5, torch.randn(5, 2), {"batch": 0}, "batch must be"),
}


@pytest.mark.parametrize(("size", "example", "fields", "words"), TOLD.values(), ids=TOLD.keys())
def test_the_check_names_the_batch_that_helps(
    task: Task, size: int | None, example: Tensor, fields: Any, words: str
) -> None:
    with pytest.raises(TaskError, match=words):
        check_task(changed(task, size, example, **fields))


def test_samples_that_see_their_neighbours_are_refused_in_a_fixed_batch(task: Task) -> None:
    class Mixed(nn.Module):
        def __init__(self, inner: nn.Module):
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.reshape(4, 2)) + x.flip(0).cumsum(0)

    wrong = replace(task, model=Mixed(task.model), example_inputs=(torch.randn(4, 2),), batch=4)
    with pytest.raises(TaskError, match=r"depends on the rest of its batch.*batch=None"):
        check_task(wrong)


def test_a_loader_of_single_samples_is_refused_with_the_remedy(task: Task) -> None:
    samples: Any = [(torch.zeros(2), 0)] * 4
    wrong = changed(task, None, torch.randn(2), batch=None, test=DataLoader(samples, batch_size=None))
    with pytest.raises(TaskError, match="test is a loader that gives single samples"):
        check_task(wrong)
