"""Splits that are streams: iterable datasets and loaders with workers, of a length that nobody knows."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import Task, check_task, read, sample_count
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class Shard(IterableDataset[Any]):
    """An iterable dataset of torch; its workers share the work."""

    def __init__(self, split: Any):
        self.split = split

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        return (self.split[index] for index in range(first, len(self.split), step))


class Foreign:
    """What libraries of datasets give: an object with `__iter__` alone."""

    def __init__(self, split: Any):
        self.split = split

    def __iter__(self) -> Iterator[Any]:
        return (self.split[index] for index in range(len(self.split)))


def in_worker(split: Any) -> DataLoader[Any]:
    return DataLoader(Shard(split), batch_size=32, num_workers=1)


@pytest.mark.parametrize("stream", [Shard, Foreign, in_worker])
def test_a_task_of_streams_scores_as_one_of_datasets(task: Task, stream: Any) -> None:
    names = ("train", "validation", "test")
    streams: dict[str, Any] = {name: stream(getattr(task, name)) for name in names}
    seen = replace(task, **streams)
    assert all(sample_count(getattr(seen, name)) is None for name in names)
    assert check_task(seen).baseline == pytest.approx(check_task(task).baseline)


def test_samples_of_several_shapes_come_in_several_batches(task: Task) -> None:
    sizes = [2, 3, 2, 3, 3]
    stream = Foreign([(torch.full((size,), float(at)), at) for at, size in enumerate(sizes)])
    split = replace(task, train=stream).train  # type: ignore[arg-type]
    batches: list[tuple[Tensor, Tensor]] = [(inputs[0], targets) for inputs, targets in read(split)]
    assert sorted(tuple(x.shape) for x, _ in batches) == [(2, 2), (3, 3)]
    assert sorted(torch.cat([targets for _, targets in batches]).tolist()) == [0, 1, 2, 3, 4]


def test_what_can_be_read_only_once_is_refused(task: Task) -> None:
    with pytest.raises(TaskError, match="a generator, which can be read only once: give an object"):
        replace(task, train=(sample for sample in [(torch.zeros(2), 0)]))  # type: ignore[arg-type]


def test_the_same_stream_twice_is_the_same_split(task: Task) -> None:
    stream = Foreign(task.train)
    with pytest.raises(TaskError, match="train and validation are the same object"):
        check_task(replace(task, train=stream, validation=stream))  # type: ignore[arg-type]
