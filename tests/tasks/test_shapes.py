"""Samples have the shape of the example, or several that the model can take; else a sentence names one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import Task, check_task
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset


class Lengths(Dataset[Any]):
    """Points of two numbers; those from `longer` on have three, or targets of three."""

    def __init__(self, longer: int, *, count: int = 300, targets: bool = False):
        self.longer, self.count, self.targets = longer, count, targets

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if index >= self.count:
            raise IndexError(index)
        long = index >= self.longer
        x = torch.randn(3 if long and not self.targets else 2)
        return x, (torch.zeros(3 if long else 2) if self.targets else index % 2)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(Lengths(20))


def padded(samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """The longest of the batch decides."""
    length = max(len(x) for x, _ in samples)
    rows = [torch.cat([x, torch.zeros(length - len(x))]) for x, _ in samples]
    return torch.stack(rows), torch.tensor([y for _, y in samples])


SPLITS = {
    "dataset": lambda: Lengths(290),
    "loader that pads batches": lambda: DataLoader(Lengths(290), batch_size=300, collate_fn=padded),
    "stream": lambda: DataLoader(Stream(), batch_size=10),
}


@pytest.mark.parametrize("name", ["train", "validation", "test"])
@pytest.mark.parametrize("make", SPLITS.values(), ids=SPLITS.keys())
def test_a_length_that_the_model_cannot_take_is_refused(task: Task, make: Any, name: str) -> None:
    message = f"model with inputs of length=3 failed: .* {name} has samples of this size: pad or crop"
    with pytest.raises(TaskError, match=message):
        check_task(replace(task, **{name: make()}))


def test_a_metric_that_cannot_take_targets_of_several_shapes_is_a_sentence(task: Task) -> None:
    message = "metric failed: .* from sample to sample it gets a list with one tensor for each"
    with pytest.raises(TaskError, match=message):
        check_task(replace(task, train=Lengths(290, targets=True), loss=lambda outputs, _: outputs.sum()))


def test_two_splits_of_different_lengths_are_a_mistake(task: Task) -> None:
    with pytest.raises(TaskError, match="test gives inputs of float32 3, but example_inputs have float32 2"):
        check_task(replace(task, test=Lengths(0)))
