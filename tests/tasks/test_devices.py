"""The check of a task on a second device: the same metrics, and a model that does not run there stays here."""

from dataclasses import replace

import pytest
import torch
from autocompress.tasks.check import check_task
from autocompress.tasks.plain.devices import copied_to, device_of
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.elsewhere import ELSEWHERE, Elsewhere
from torch import Tensor, nn


class MakesOnTheCpu(nn.Module):
    """A model that adds a tensor of its own, without regard to where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.ones(3)


@pytest.mark.parametrize("most", [None, 30_000], ids=["as a whole", "in halves"])
def test_a_model_is_scored_elsewhere_as_here(most: int | None):
    task = tiny_task("residual")
    here = check_task(task)
    with Elsewhere(most=most) as elsewhere:
        there = check_task(task, device=str(ELSEWHERE))
    assert (there.baseline, there.notes) == (here.baseline, here.notes)
    assert "aten.conv2d.default" in elsewhere.names("there") and bool(elsewhere.refused) == bool(most)
    assert device_of(there.task.model).type == "cpu"


def test_a_model_that_does_not_run_elsewhere_stays_here():
    model, inputs = MakesOnTheCpu(), (torch.ones(2, 3),)
    with Elsewhere():
        assert copied_to(ELSEWHERE, model, inputs) is model
        assert device_of(copied_to(ELSEWHERE, model.layer, inputs)) == ELSEWHERE


def test_what_was_scored_elsewhere_is_scored_again_here():
    task = tiny_task("mlp")
    other = check_task(task).to_json() | {"device": "cuda", "baseline": 0.25}
    assert check_task(task, earlier=other).baseline == 1
    assert check_task(task, earlier=replace(check_task(task), baseline=0.25).to_json()).baseline == 0.25
