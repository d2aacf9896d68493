"""What an error in a stage of a build says about the candidate."""

import os
import signal

import pytest
import torch
from autocompress.compress.stages import StageClock
from autocompress.errors import StageError
from torch.utils.data import DataLoader, Dataset


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
