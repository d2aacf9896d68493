"""What `--dry-run` says that a candidate takes, against what candidates take: three networks of different size.

    python benchmarks/plan.py

Each is searched for a minute without recovery. A row has the seconds that were planned, the median of those
between two candidates, and their ratio, which should lie between 0.5 and 2. Takes four minutes. Beside load
candidates take longer than planned.
"""

import os
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from autocompress.explore.preparation.estimate import estimate
from autocompress.explore.preparation.open_search import make_compressor, open_search
from autocompress.explore.preparation.prepare import prepare
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.session.progress import QuietProgress
from autocompress.results.run_directory import read_run
from autocompress.tasks.task import Metric, Task, accuracy
from torch import nn
from torch.utils.data import TensorDataset

SIZES = {"2 M MACs": (8, 100), "115 M MACs": (64, 200), "450 M MACs": (128, 400)}  # width, samples


def main() -> None:
    """Prints a row for each size."""
    print(f"{'':12} {'planned s':>9} {'took s':>9} {'ratio':>6} candidates")
    for name, (width, samples) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder
            planned_s, ends = searched(_task(width, samples), Path(folder) / "run")
        took = [after - before for before, after in pairwise(ends)]
        if not took:
            print(f"{name:12} {planned_s:9.2f} too few candidates in a minute")
            continue
        print(
            f"{name:12} {planned_s:9.2f} {median(took):9.2f} {median(took) / planned_s:6.2f} {len(ends)}",
            flush=True,
        )


def searched(task: Task, out: Path) -> tuple[float, list[float]]:
    """The seconds that the plan has for a candidate, and when each of those that were tried ended."""
    request = SearchRequest(task="", budget_s=60.0, recovery=False, out=out)
    progress = QuietProgress()
    checked = prepare(request, progress, task=task)
    planned = estimate(checked, make_compressor(checked, cache_dir=None))
    with open_search(checked, progress) as search:
        search.run()
    return planned.candidate_s, [point.elapsed_s for point in read_run(out).points[2:]]


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


if __name__ == "__main__":
    main()
