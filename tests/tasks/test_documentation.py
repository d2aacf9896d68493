"""The task in docs/tasks.md and the CIFAR-10 example work as written."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import batches, check_task, load_task
from torch import nn

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"needs the CIFAR-10 images and models in {SHARED}"
)


def test_the_own_task_in_the_documentation_runs_as_written(tmp_path: Path) -> None:
    block, *_ = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "shapes.py").write_text(block, encoding="utf-8")
    noise = np.random.default_rng(0)
    images, points = noise.normal(size=(300, 1, 16, 16)), noise.normal(size=(300, 2))
    np.savez(tmp_path / "shapes.npz", images=images.astype(np.float32), points=points.astype(np.float32))
    model = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 2))
    torch.save(model.state_dict(), tmp_path / "shapes.pt")
    arguments = {"data": str(tmp_path / "shapes.npz"), "weights": str(tmp_path / "shapes.pt")}
    checked = check_task(load_task(f"{tmp_path / 'shapes.py'}:centers", arguments))
    assert checked.baseline > 0 and checked.task.metric.direction == "lower"
    assert len([line for line in block.splitlines() if line.strip()]) <= 40


def test_the_example_without_its_data_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"there is no .*zoo.py.*--task-arg data=PATH"):
        load_task(f"{ROOT / 'examples' / 'cifar10.py'}:resnet20", {"data": str(tmp_path)})


@needs_data
def test_the_mlperf_tiny_example_reads_and_augments_real_images() -> None:
    task = load_task(f"{ROOT / 'examples' / 'cifar10.py'}:resnet8", {"data": str(SHARED)})
    splits = (task.train, task.validation, task.test)
    assert [len(split) for split in splits] == [50_000, 5_000, 5_000]  # type: ignore[arg-type]
    (inputs,), targets = next(batches(task.train, batch_size=64, seed=0, augment=task.augment))
    assert inputs.shape == (64, 3, 32, 32) and inputs.max() > 200 and targets.dtype == torch.int64
    with torch.inference_mode():
        assert (task.model(inputs).argmax(1) == targets).float().mean() > 0.7


@needs_data
@pytest.mark.slow
def test_resnet20_has_its_published_accuracy_and_disjoint_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autocompress.tasks.check._VALIDATION_S", 1e4)  # the whole split, beside load too
    checked = check_task(load_task(f"{ROOT / 'examples' / 'cifar10.py'}:resnet20", {"data": str(SHARED)}))
    assert checked.baseline == pytest.approx(0.9148, abs=2e-4) and checked.train_metric_sample > 0.98
