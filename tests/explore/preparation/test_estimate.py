"""What `--dry-run` says that a search will take, against what it takes."""

import math
import os
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
import torch
from autocompress.explore.preparation.estimate import Estimate, estimate
from autocompress.explore.preparation.open_search import make_compressor, open_search
from autocompress.explore.preparation.prepare import prepare
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.session.budget import Budget
from autocompress.explore.session.progress import QuietProgress
from autocompress.results.run_directory import read_run
from autocompress.tasks.task import Metric, Task, accuracy
from torch import nn
from torch.utils.data import TensorDataset

FAST = Estimate(once_s=10.0, candidate_s=5.0, recovery_s=100.0)


def test_what_is_made_once_and_the_finalists_leave_the_rest_of_a_budget_to_candidates():
    left_s = 600 * (0.85 - 0.12 - 0.10) - 10
    assert FAST.trials(Budget(total_s=600.0, recovery=False)) == 1 + int(left_s / 5)
    assert FAST.trials(Budget(total_s=None)) is None


def test_a_budget_with_recovery_has_fewer_candidates_however_long_one_would_train():
    budgets = [Budget(total_s=600.0, recovery=recovery) for recovery in (False, True)]
    without, with_recovery = (FAST.trials(budget) for budget in budgets)
    slow = Estimate(once_s=10.0, candidate_s=5.0, recovery_s=1e6)
    assert without and with_recovery and 8 < with_recovery < without
    assert slow.trials(budgets[1]) == with_recovery


def test_a_number_of_trials_without_recovery_takes_no_training():
    assert FAST.seconds(10, recovery=False) == 60.0
    assert FAST.seconds(10, recovery=True) == 560.0


def _convolutions(width: int) -> nn.Module:
    """Four 3 × 3 convolutions on 32 × 32 pixels and a classifier."""
    layers: list[nn.Module] = []
    for channels in (3, width, width, width):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def _task(width: int, samples: int) -> Task:
    torch.manual_seed(0)
    model = _convolutions(width).eval()
    splits = []
    for _ in range(3):
        x = torch.randn(samples, 3, 32, 32)
        with torch.inference_mode():
            splits.append(TensorDataset(x, model(x).argmax(1)))
    return Task(
        name="sized", model=model, loss=nn.functional.cross_entropy,
        metric=Metric(name="accuracy", function=accuracy), example_inputs=(torch.randn(2, 3, 32, 32),),
        train=splits[0], validation=splits[1], test=splits[2],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize(("width", "samples"), [(8, 100), (64, 200), (128, 400)], ids=["2M", "115M", "450M"])
def test_a_candidate_takes_about_as_long_as_the_plan_says(width, samples, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    request = SearchRequest(task="", budget_s=60.0, recovery=False, out=tmp_path / "run")
    progress = QuietProgress()
    checked = prepare(request, progress, task=_task(width, samples))
    planned = estimate(checked, make_compressor(checked, cache_dir=None))
    with open_search(checked, progress) as search:
        search.run()
    run = read_run(tmp_path / "run")
    ends = [point.elapsed_s for point in run.points[2:]]
    took_s = median(after - before for before, after in pairwise(ends))
    assert len(ends) > 3, (planned, os.getloadavg())
    assert abs(math.log2(planned.candidate_s / took_s)) < 1, (planned, took_s, os.getloadavg())
