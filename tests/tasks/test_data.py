"""Splits are read the same from datasets and loaders."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import arrays, batches, read, sample_count
from autocompress.tasks.splits.grouping import concatenated
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

TEN = TensorDataset(torch.arange(10.0).view(10, 1), torch.arange(10))


class Batched(Dataset[Any]):
    """Counts how it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("read one by one")

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.reads += 1
        return [(torch.tensor([float(index)]), index) for index in indices]


class Noisy(Dataset[Any]):
    """Samples with noise from all three global generators."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return torch.rand(1) + random.random() + torch.tensor(np.random.rand()).float(), index


def jitter(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return inputs + torch.rand_like(inputs), targets


def drawn(split: Any, count: int, **options: Any) -> Tensor:
    source = batches(split, **{"batch_size": 4, "seed": 0, **options})
    return torch.cat([next(source)[0][0] for _ in range(count)])


@pytest.mark.parametrize("split", [TEN, DataLoader(TEN, batch_size=3)], ids=["dataset", "loader"])
def test_arrays_are_the_samples_in_order(split: Any) -> None:
    [(inputs,)], targets = arrays(split)
    assert inputs.dtype == np.float32 and inputs[:, 0].tolist() == list(range(10)) == targets.tolist()


@pytest.mark.parametrize("split", [TEN, DataLoader(TEN, batch_size=3)], ids=["dataset", "loader"])
def test_a_limit_reads_that_many_samples_always_the_same(split: Any) -> None:
    [(first,)], targets = arrays(split, limit=4)
    [(second,)], _ = arrays(split, limit=4)
    assert first.shape == (4, 1) and np.array_equal(first, second) and np.array_equal(first[:, 0], targets)


def test_a_limit_mixes_a_dataset_that_is_sorted_by_class() -> None:
    by_class = TensorDataset(torch.zeros(1000, 1), torch.arange(1000) // 100)
    _, targets = arrays(by_class, limit=200)
    assert torch.bincount(targets).min() >= 8


def test_batched_reading_is_used_where_a_dataset_offers_it() -> None:
    dataset = Batched()
    assert len(list(read(dataset, batch_size=5))) == 2 and dataset.reads == 2


def test_training_batches_are_endless_and_cover_each_pass() -> None:
    source = batches(TEN, batch_size=5, seed=1)
    passes = [sorted(torch.cat([next(source)[1], next(source)[1]]).tolist()) for _ in range(3)]
    assert passes == [list(range(10))] * 3


def test_an_incomplete_batch_is_dropped_unless_it_is_the_only_one() -> None:
    assert {len(drawn(TEN, 1, batch_size=size)) for size in (4, 16)} == {4, 10}
    assert len(drawn(TEN, 5, batch_size=4)) == 20


@pytest.mark.parametrize(
    "split", [Noisy(), DataLoader(Noisy(), batch_size=4, shuffle=True)], ids=["dataset", "loader"]
)
def test_the_seed_decides_shuffling_noise_and_augmentation(split: Any) -> None:
    first = drawn(split, 5, augment=jitter)
    torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(first, drawn(split, 5, augment=jitter))
    assert not torch.equal(first, drawn(split, 5, augment=jitter, seed=1))


def test_the_callers_generators_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    source = batches(Noisy(), batch_size=4, seed=0)
    next(source)
    drawn = [torch.rand(1)]
    next(source)
    assert torch.equal(torch.cat([*drawn, torch.rand(1)]), expected)


def test_the_number_of_samples_follows_the_loader() -> None:
    assert sample_count(TEN) == 10 and sample_count(DataLoader(TEN, batch_size=3)) == 10
    assert sample_count(DataLoader(TEN, batch_size=3, drop_last=True)) == 9


def test_nests_of_targets_are_concatenated_part_by_part() -> None:
    part = {"boxes": torch.zeros(2, 4), "names": ["a", "b"], "pair": (torch.ones(2), torch.zeros(2))}
    joined = concatenated([part, part])
    assert (
        joined["boxes"].shape == (4, 4)
        and joined["names"] == ["a", "b", "a", "b"]
        and joined["pair"][0].sum() == 4
    )


def test_an_input_that_is_no_tensor_is_an_error() -> None:
    with pytest.raises(TaskError, match="not a tensor: convert it"):
        arrays([("a word", 1)])  # type: ignore[arg-type]
