"""Splits on disk: in shards, read in parts, and in nested parts that are spread over all of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from autocompress.errors import InputError, TaskError
from autocompress.evaluation import stored_split
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.evaluation.targets import FoundTarget
from autocompress.profiles import TargetAddress, load_profile
from autocompress.targets import session as sessions
from autocompress.targets.on_device.inputs import Picked
from autocompress.targets.session import TargetSession, joined
from autocompress.targets.target import Target
from autocompress.tasks.splits.streams import readable_splits
from autocompress.tests.targets.models import save
from onnx import helper
from torch.utils.data import IterableDataset, TensorDataset

COUNT = 1000
SPLIT = TensorDataset(torch.arange(2.0 * COUNT).view(COUNT, 2), torch.arange(COUNT))


@pytest.fixture
def session() -> Iterator[TargetSession]:
    with Target(load_profile("cpu")).session() as opened:
        yield opened


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_split, "SHARD_BYTES", 2000)


def negation(folder: Path, *, dims: tuple[str | int, ...] = ("batch", 2)) -> Path:
    return save(folder / "m.onnx", [helper.make_node("Neg", ["x"], ["y"])], inputs={"x": list(dims)})


def answers(split: StoredSplit, session: TargetSession, model: Path, **part: int) -> tuple[Any, list[int]]:
    parts = list(split.answered(session, model, batch=100, **part))
    (outputs,) = joined([outputs for outputs, _ in parts])
    return outputs, [int(target) for _, targets in parts for target in targets]


@pytest.mark.usefixtures("small_shards")
def test_all_shards_are_answered_in_order_with_their_targets(session: TargetSession, tmp_path: Path) -> None:
    split = StoredSplit(SPLIT, tmp_path / "split")
    outputs, targets = answers(split, session, negation(tmp_path))
    assert len(split.shards) == 4 and split.samples == COUNT and targets == list(range(COUNT))
    np.testing.assert_array_equal(outputs, -SPLIT.tensors[0].numpy())


@pytest.mark.usefixtures("small_shards")
def test_parts_are_handed_over_before_they_fill_memory(
    session: TargetSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "PART_BYTES", 1500)  # of outputs: two batches of 100 samples
    split, model = StoredSplit(SPLIT, tmp_path / "split"), negation(tmp_path)
    sizes = [len(outputs[0]) for outputs, _ in split.answered(session, model, batch=100)]
    outputs, targets = answers(split, session, model)
    assert max(sizes) == 200 and len(sizes) > 4 and targets == list(range(COUNT))
    np.testing.assert_array_equal(outputs, -SPLIT.tensors[0].numpy())


@pytest.mark.usefixtures("small_shards")
def test_parts_of_the_samples_are_disjoint_and_everywhere(session: TargetSession, tmp_path: Path) -> None:
    split, model = StoredSplit(SPLIT, tmp_path / "split"), negation(tmp_path)
    quarter = Picked.WHOLE // 4
    outputs, few = answers(split, session, model, low=0, high=quarter)
    _, others = answers(split, session, model, low=quarter, high=Picked.WHOLE)
    assert sorted(few + others) == list(range(COUNT))
    np.testing.assert_array_equal(outputs, -SPLIT.tensors[0].numpy()[few])
    by_tenth = np.bincount(np.array(few) // 100, minlength=10)
    assert by_tenth.min() >= 22 and by_tenth.max() <= 28


def test_samples_of_several_shapes_keep_their_targets(session: TargetSession, tmp_path: Path) -> None:
    class Words(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter([(torch.full((length,), float(length)), length) for length in [3, 2, 5, 3, 2, 3]])

    (loader,) = readable_splits([Words()])
    model = negation(tmp_path, dims=("batch", "length"))
    outputs, targets = answers(StoredSplit(loader, tmp_path / "split"), session, model)
    assert [len(one) for one in outputs] == targets == [3, 3, 3, 2, 2, 5]


def test_large_targets_are_on_disk(tmp_path: Path) -> None:
    masks = torch.randint(0, 9, (4, 400, 400))
    split = StoredSplit(TensorDataset(torch.zeros(4, 1), masks), tmp_path / "split")
    assert split.shards[0].kept is None and torch.equal(split.targets, masks)


def test_a_limit_keeps_a_fixed_choice_of_a_dataset(tmp_path: Path) -> None:
    first, again = (StoredSplit(SPLIT, tmp_path / name, limit=50) for name in "ab")
    assert first.samples == 50 and torch.equal(first.targets, again.targets)
    assert first.targets.max() > 500


def test_large_samples_are_run_a_few_at_a_time(tmp_path: Path) -> None:
    split = StoredSplit(TensorDataset(torch.zeros(9, 3, 512, 512), torch.zeros(9)), tmp_path / "split")
    assert split.batch == 5 and StoredSplit(SPLIT, tmp_path / "b").batch == 250


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="has no samples"):
        _ = StoredSplit(TensorDataset(torch.zeros(0, 2), torch.zeros(0)), tmp_path).shards


def test_a_board_is_not_sent_more_than_it_keeps(tmp_path: Path) -> None:
    profile = load_profile("cpu")
    address = TargetAddress(profile="cpu", host="10.0.0.5")
    board = FoundTarget(profile=profile, address=address, environment=None)
    split = StoredSplit(SPLIT, tmp_path / "split")
    split.__dict__["size_bytes"] = 2 * profile.store_limit_bytes
    with pytest.raises(InputError, match="give --validation-samples 375, or raise store_limit_bytes"):
        board.open(validation=split)
