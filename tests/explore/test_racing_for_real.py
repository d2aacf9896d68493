"""A real search whose candidates race: what was stopped is validated in full afterwards."""

from dataclasses import replace
from pathlib import Path

import autocompress as ac
import pytest
import torch
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.profiles import load_profile
from autocompress.targets.target import Target
from autocompress.tasks import Metric, Task
from autocompress.tasks.metrics import top_k
from autocompress.tasks.metrics.accumulate import accumulator_of
from autocompress.tests.restless import SHORT
from torch import nn
from torch.utils.data import TensorDataset

CENTRES = torch.randn(10, 16, generator=torch.Generator().manual_seed(0))


def samples(count: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=generator)
    return TensorDataset(CENTRES[labels] + 0.9 * torch.randn(count, 16, generator=generator), labels)


def task() -> Task:
    """A network that was trained for a moment."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    x, y = samples(4000, 1).tensors
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return Task(
        name="centres", model=model.eval(), train=samples(2000, 2), validation=samples(6000, 3),
        test=samples(1000, 4), loss=nn.functional.cross_entropy, metric=top_k(), example_inputs=(x[:2],),
    )  # fmt: skip


def in_full(metric: Metric, split: StoredSplit, file: Path) -> float:
    accumulator = accumulator_of(metric)
    with Target(load_profile("cpu")).session() as session:
        for outputs, targets in split.answered(session, file, batch=250):
            accumulator.add(outputs, targets)
    return accumulator.value()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")
def test_what_a_search_stops_would_not_have_been_on_the_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task()
    for place in ("explore.preparation.open_search", "targets.target"):
        monkeypatch.setattr(f"autocompress.{place}.SEARCH_TIMING", SHORT)
    monkeypatch.setattr("autocompress.explore.finalists.FINALIST_TIMING", SHORT)
    run = ac.search(
        made, trials=30, sampler="random", recovery=False, out=tmp_path / "run", progress=False
    ).record
    split, base, points = StoredSplit(made.validation, tmp_path / "split"), run.baseline, list(run.points)
    for stopped in run.stopped:
        value = in_full(made.metric, split, tmp_path / "run" / stopped.artifact.file)
        drop = base.measured["cpu"].quality.validation - value
        outcome = replace(
            stopped.estimated(base, better="higher").measured["cpu"], drop=drop, drop_interval=None
        )
        points.append(replace(stopped.estimated(base, better="higher"), outcomes={"cpu": outcome}))
    whole = replace(run, points=tuple(points), stopped=())
    assert run.stopped and run.saved_samples > 0.05, f"{len(run.points)} points"
    assert not {one.trial for one in run.stopped} & {point.trial for point in whole.front}
    assert whole.hypervolume == pytest.approx(run.hypervolume, abs=1e-4)
