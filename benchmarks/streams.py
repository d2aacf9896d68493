"""What a validation split that is larger than memory takes: peak memory of a search and of its worker.

    python benchmarks/streams.py --gigabytes 20      # 2 candidates; writes as much to a temporary folder

The split is an iterable dataset without a length, its images of 3 × 224 × 224 made as they are asked for. It
prints resident memory, in which the mapped pages of files count as well. 20 GB take about 6 minutes on one core.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import autocompress as ac
import torch
from autocompress.tasks import Metric, Task
from torch import Tensor, nn
from torch.utils.data import IterableDataset, TensorDataset

SHAPE = (3, 224, 224)
SAMPLE_BYTES = 4 * 3 * 224 * 224
CLASSES = 10


class Images(IterableDataset[Any]):
    """Images that differ, and nobody knows how many."""

    def __init__(self, count: int, seed: int):
        self._count, self._seed = count, seed

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        generator = torch.Generator().manual_seed(self._seed)
        base = torch.randn(64, *SHAPE, generator=generator)
        for number in range(self._count):
            yield base[number % 64] + (number // 64) * 1e-4, number % CLASSES


def is_right(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 for each sample that is right."""
    return (outputs.argmax(1) == targets).float()


def task(gigabytes: float) -> Task:
    """A small network of random weights."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 7, 4, 3), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES),
    ).eval()  # fmt: skip
    train = TensorDataset(torch.randn(256, *SHAPE), torch.arange(256) % CLASSES)
    return Task(
        name=f"{gigabytes:g} GB",
        model=network,
        train=train,
        validation=Images(int(gigabytes * 1e9 / SAMPLE_BYTES), 1),
        test=TensorDataset(
            torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(3)), torch.arange(64) % CLASSES
        ),
        loss=nn.functional.cross_entropy,
        metric=Metric(name="accuracy", update=is_right),
        example_inputs=(torch.zeros(2, *SHAPE),),
    )


def main() -> None:
    """Searches, and prints what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, help="Where the samples are written meanwhile.")
    asked = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        run = ac.search(task(asked.gigabytes), trials=2, recovery=False, out=f"{folder}/run", progress=False)
    mine, worker = (
        resource.getrusage(who).ru_maxrss / 1e6 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(
        f"{asked.gigabytes:g} GB of validation, {len(run.points)} candidates in {time.perf_counter() - start:.0f} s: "
        f"peak {mine:.2f} GB in the search, {worker:.2f} GB in a worker"
    )


if __name__ == "__main__":
    main()
