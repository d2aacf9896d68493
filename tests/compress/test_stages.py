"""What an error in a stage of a build says about the candidate."""

import os
import signal
from functools import partial

import pytest
import torch
from autocompress.compress.stages import StageClock, halving
from autocompress.errors import StageError
from torch.utils.data import DataLoader, Dataset

halved = partial(halving, what="a training step", stage="recover")


class Samples(Dataset[torch.Tensor]):
    """Numbers, whose second one kills the process that reads it."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1)


def test_a_killed_process_that_loads_data_is_not_the_fault_of_the_candidate() -> None:
    with pytest.raises(StageError) as failure, StageClock().stage("recover"):
        list(DataLoader(Samples(), num_workers=1))
    assert failure.value.retryable


def test_an_error_of_the_model_comes_again() -> None:
    with pytest.raises(StageError, match="shapes") as failure, StageClock().stage("recover"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert not failure.value.retryable


def test_a_step_that_runs_out_of_memory_is_tried_in_halves():
    tried = []

    def attempt(size):
        tried.append(size)
        if size > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    assert halved(128, attempt) == ("done", 16) and tried == [128, 64, 32, 16]
    with pytest.raises(StageError, match="a training step of 32 samples does not fit"):
        halved(128, attempt, least=32)
    with pytest.raises(RuntimeError, match="shapes"):
        halved(4, lambda _: (_ for _ in ()).throw(RuntimeError("shapes differ")))
