"""Inputs and outputs of every type; a batch of one fixed size is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from autocompress.errors import TaskError
from autocompress.tasks import check_task
from autocompress.tests.compress.kinds import assert_builds_answer_like_torch, kind_task
from torch import Tensor, nn


class Camera(nn.Module):
    """Reads pixels as they come: uint8, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """N × 8 × 8 × 3 to N × 4."""
        x = F.relu(self.a(x.permute(0, 3, 1, 2).float() / 255))
        result: Tensor = self.c(F.relu(self.b(x)).mean((2, 3)))
        return result


class Masked(nn.Module):
    """Tokens, a mask of truth values, and one number; answers of three types."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.a, self.b = nn.Embedding(9, 8), nn.Linear(8, 16), nn.Linear(17, 4)

    def forward(self, tokens: Tensor, mask: Tensor, age: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """N × T, N × T and N to scores, the best class, and whether the scores are above 0."""
        x = F.relu(self.a(self.embed(tokens))).masked_fill(~mask.unsqueeze(-1), 0).sum(1)
        scores = self.b(torch.cat([x, age.unsqueeze(1)], 1))
        return scores, scores.argmax(1), scores > 0


PIXELS = (torch.randint(255, (64, 8, 8, 3), dtype=torch.uint8),)
TOKENS = (torch.randint(9, (64, 5), dtype=torch.int32), torch.rand(64, 5) > 0.3, torch.randn(64))
TYPES = {"uint8": (Camera, PIXELS), "int32, bool and a number": (Masked, TOKENS)}


@pytest.mark.parametrize(("make", "inputs"), TYPES.values(), ids=TYPES.keys())
def test_inputs_and_outputs_of_every_type_build_like_torch(make, inputs, tmp_path):
    network, sizes = assert_builds_answer_like_torch(make, *inputs, folder=tmp_path)
    assert network.groups and set(sizes) == {"original", "int8", "half"}


def test_integer_and_boolean_outputs_pass_the_check():
    torch.manual_seed(0)
    task = kind_task(Masked(), TOKENS)
    parts: list[Any] = [
        [(tuple(x[i] for x in TOKENS), 0) for i in rows] for rows in (range(20), range(20, 40), range(40, 64))
    ]
    check_task(replace(task, train=parts[0], validation=parts[1], test=parts[2]))


class FixedBatch(nn.Module):
    def __init__(self, change: Any):
        super().__init__()
        self.linear, self.change = nn.Linear(6, 4), change

    def forward(self, x: Tensor) -> Any:
        """2 × 6 only."""
        return self.change(self.linear(x))


FIXED = {
    "view": (lambda y: y.reshape(2, 4), "with any batch size, here 1 and 2"),
    "state of two samples": (lambda y: y + torch.zeros(2, 4), r"output 0 has shape 2×4 for a batch of 1"),
    "no batch": (lambda y: y.sum(0), r"output 0 has shape 4 for a batch of 1: dimension 0 must be the batch"),
}


@pytest.mark.parametrize(("change", "message"), FIXED.values(), ids=FIXED.keys())
def test_a_fixed_batch_is_refused_in_a_true_sentence(change, message):
    with pytest.raises(TaskError, match=message):
        check_task(kind_task(FixedBatch(change), (torch.randn(64, 6),)))
