"""Data whose samples differ in size: what is free, what a metric sees, how samples become batches."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from autocompress.tasks import CheckedTask, Metric, Task, check_task
from autocompress.tasks.data import arrays, batches
from autocompress.tasks.splits.grouping import by_shape, spread
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Tagger(nn.Module):
    """N × T and a mask N × T to N × 2 × T, or to N × 2."""

    def __init__(self, *, each: bool) -> None:
        super().__init__()
        self.embed, self.head, self.each = nn.Embedding(10, 8), nn.Linear(8, 2), each

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        scores = self.head(self.embed(words)).transpose(1, 2) * mask[:, None]
        return scores if self.each else scores.mean(2)


def sentences(count: int, seed: int, *, each: bool) -> list[Any]:
    """Sentences of 3 to 7 words with a mask; a tag for each word, or one for all."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        words = torch.randint(10, (3 + number % 5,), generator=generator)
        found.append(((words, torch.ones(len(words))), words % 2 if each else int(words[0] % 2)))
    return found


def right(outputs: Any, targets: Any) -> float:
    """The share of words that have the right tag, a mean over sentences."""
    assert isinstance(outputs, list) and isinstance(targets, list)
    pairs = zip(outputs, targets, strict=True)
    return float(np.mean([float((output.argmax(0) == target).float().mean()) for output, target in pairs]))


def task_of(*, each: bool) -> Task:
    train, validation, test = (sentences(60, seed, each=each) for seed in range(3))
    torch.manual_seed(0)
    return Task(
        name="tags", model=Tagger(each=each), train=train, validation=validation, test=test,  # type: ignore[arg-type]
        loss=F.cross_entropy, metric=Metric(name="right", function=right if each else _share),
        example_inputs=(torch.ones(2, 4, dtype=torch.long), torch.ones(2, 4)),
    )  # fmt: skip


def _share(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs.argmax(1) == targets).float().mean())


@pytest.fixture(scope="module")
def checked() -> CheckedTask:
    return check_task(task_of(each=False))


def test_dimensions_that_vary_together_are_found_and_get_one_name(checked: CheckedTask) -> None:
    assert checked.task.dynamic == {0: {1: "length"}, 1: {1: "length"}}
    assert checked.varying == ("length",)
    note = "length (dimension 1 of words, dimension 1 of mask) varies in the data, 3 to 7 were seen"
    assert any(note in text for text in checked.notes)


def test_the_example_has_the_median_size_of_validation(checked: CheckedTask) -> None:
    assert [x.shape for x in checked.task.inputs] == [(2, 5), (2, 5)]


def test_notes_of_an_earlier_check_do_not_come_twice(checked: CheckedTask) -> None:
    assert check_task(task_of(each=False), earlier=checked.to_json()).notes == checked.notes


def test_a_declared_dimension_keeps_its_name() -> None:
    task = replace(task_of(each=False), dynamic={"words": {1: "words"}, "mask": {1: "words"}})
    assert check_task(task).task.dynamic == {0: {1: "words"}, 1: {1: "words"}}


def test_a_metric_gets_lists_where_shapes_differ() -> None:
    checked = check_task(task_of(each=True))
    expected = []
    for (words, mask), tags in sentences(60, 1, each=True):
        output = checked.task.model(words[None], mask[None])[0]
        expected.append(float((output.argmax(0) == tags).float().mean()))
    assert checked.baseline == pytest.approx(np.mean(expected))


def test_a_loader_may_pad_each_batch_to_its_longest() -> None:
    def padded(samples: Any) -> Any:
        longest = max(len(words) for (words, _), _ in samples)
        columns = [
            torch.stack([F.pad(x[at], (0, longest - len(x[at]))) for x, _ in samples]) for at in (0, 1)
        ]
        return tuple(columns), torch.tensor([tag for _, tag in samples])

    task = task_of(each=False)
    loaders = {
        name: DataLoader(getattr(task, name), batch_size=2, collate_fn=padded)
        for name in ("train", "validation", "test")
    }
    assert check_task(replace(task, **loaders)).varying == ("length",)  # type: ignore[arg-type]


def test_samples_are_grouped_by_shape_and_targets_follow_them() -> None:
    split: Any = [(torch.full((size,), float(number)), number) for number, size in enumerate([2, 3, 2, 4, 2])]
    groups, targets = arrays(split)
    assert [inputs[0].shape for inputs in groups] == [(3, 2), (1, 3), (1, 4)]
    assert targets.tolist() == [0, 2, 4, 1, 3] == [row[0] for (inputs,) in groups for row in inputs]


def test_batches_for_training_have_one_shape_and_are_filled() -> None:
    split: Any = [(torch.zeros(2 + number % 3), number) for number in range(90)]
    source: Iterator[Any] = batches(split, batch_size=8, seed=0)
    drawn = [next(source) for _ in range(9)]
    assert sum(len(inputs[0]) >= 8 for inputs, _ in drawn) >= 8
    assert all(len(inputs[0]) == len(targets) for inputs, targets in drawn)


def test_a_spread_takes_something_of_each_shape() -> None:
    groups = by_shape((torch.zeros(10, size),) for size in (2, 3, 2, 4))
    assert [len(x) for (x,) in groups] == [20, 10, 10]
    assert [len(x) for (x,) in spread(groups, 20)] == [10, 5, 5]
    assert sum(len(x) for (x,) in spread([(torch.zeros(1, size),) for size in range(1, 101)], 10)) == 10
