"""What a validation split that is larger than memory takes: peak memory of a search and of its worker.

    python benchmarks/streams.py --gigabytes 20          # 2 candidates; writes as much to a temporary folder
    python benchmarks/streams.py --gigabytes 4 --alone   # one validation of the original, without a search

The split is an iterable dataset without a length, its images of 3 × 224 × 224 made as they are asked for. It
prints resident memory, in which the mapped pages of files count as well; that of a worker is at least that of
the process it was forked from.
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
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.profiles import load_profile
from autocompress.targets.target import Target
from autocompress.tasks import Metric, Task
from autocompress.tasks.metrics.accumulate import accumulator_of
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


def validate(gigabytes: float, folder: Path) -> None:
    """Writes the split and validates the original on it, as a search does."""
    made, model = task(gigabytes), folder / "original.onnx"
    torch.onnx.export(
        made.model, made.inputs, model, input_names=["x"], output_names=["y"],
        dynamic_axes={"x": {0: "n"}}, opset_version=18, dynamo=False,
    )  # fmt: skip
    split, accumulator = StoredSplit(made.validation, folder / "split"), accumulator_of(made.metric)
    with Target(load_profile("cpu")).session() as session:
        for outputs, targets in split.answered(session, model, batch=split.batch):
            accumulator.add(outputs, targets)
    print(
        f"{split.samples} samples in {len(split.shards)} shards, {made.metric.name} {accumulator.value():.4f}"
    )


def main() -> None:
    """Searches, and prints what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--folder", type=Path, help="Where the samples are written meanwhile.")
    parser.add_argument("--alone", action="store_true")
    asked = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        if asked.alone:
            validate(asked.gigabytes, Path(folder))
        else:
            ac.search(task(asked.gigabytes), trials=2, recovery=False, out=f"{folder}/run", progress=False)
    mine, worker = (
        resource.getrusage(who).ru_maxrss / 1e6 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(
        f"{asked.gigabytes:g} GB of validation in {time.perf_counter() - start:.0f} s: "
        f"peak {mine:.2f} GB in the search, {worker:.2f} GB in a worker"
    )


if __name__ == "__main__":
    main()
