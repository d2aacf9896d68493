"""How many candidates of rung r0 a search looks at in a minute: a ResNet-50 on a device.

    python benchmarks/r0.py [--device cuda:0] [--candidates 40] [--samples 64] [--levels DIR] [--json]

Random weights, normalizations with the statistics of the images, images of blurred noise: time is what is
looked at, and no accuracy. Candidates have random precisions in all layers, half of them fewer channels in up
to three groups, as the proposals of a search do. Each is looked at twice: the first time its levels and
removal orders are made (and kept in --levels), the second time they are there, which is what most candidates
of a long search find. Of the latter, stitching is on the CPU whatever the device.

The parts before are told, too: moving the original, moments of all layers, and the sensitivities of some
layers. It needs torch, onnx, onnxruntime, safetensors and ml_dtypes. On one core without a GPU `--candidates
4` takes 12 minutes.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from autocompress.compress import Compressor, Network, Recipe
from autocompress.compress.graph.channels import keep_counts
from autocompress.compress.options import CompressorOptions
from autocompress.compress.recipe import Precision
from autocompress.tasks import classes
from autocompress.tasks.task import Metric, Task, accuracy
from torch import Tensor, nn
from torch.utils.data import TensorDataset

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks, and channels between their 1×1 convolutions
KINDS: tuple[Precision, ...] = ("int8", "int8", "w4", "int4", "float32")
MULTIPLE = 8  # of channels that remain
PROBED = 32  # sensitivities


class Block(nn.Module):
    """A residual block of three convolutions; the middle one has the stride."""

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.branch = nn.Sequential(
            *_convolution(inputs, channels, 1), nn.ReLU(),
            *_convolution(channels, channels, 3, stride), nn.ReLU(),
            *_convolution(channels, 4 * channels, 1),
        )  # fmt: skip
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != 4 * channels:
            self.shortcut = nn.Sequential(*_convolution(inputs, 4 * channels, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """N × inputs × height × width."""
        return F.relu(self.branch(x) + self.shortcut(x))


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs, momentum=None)


def resnet50(images: Tensor) -> nn.Module:
    """A ResNet-50 of 10 classes whose normalizations know these images."""
    layers: list[nn.Module] = [*_convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, (blocks, channels) in enumerate(STAGES):
        for block in range(blocks):
            layers.append(Block(inputs, channels, 2 if stage and not block else 1))
            inputs = 4 * channels
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)).train()
    with torch.no_grad():
        model(images)
    return model.eval()


def task_of(samples: int) -> Task:
    """The task: its labels are random."""
    draw = torch.Generator().manual_seed(0)
    coarse, fine = (torch.randn(2 * samples + 8, 3, size, size, generator=draw) for size in (8, 56))
    images = F.interpolate(coarse, size=224, mode="bilinear") + 0.3 * F.interpolate(fine, size=224)
    labels = torch.randint(10, (len(images),), generator=draw)
    ends = (slice(samples), slice(samples, 2 * samples), slice(2 * samples, None))
    train, validation, test = (TensorDataset(images[part], labels[part]) for part in ends)
    torch.manual_seed(0)
    return Task(
        name="resnet50",
        model=resnet50(images[:16]),
        loss=F.cross_entropy,
        metric=Metric(name="accuracy", function=accuracy),
        example_inputs=(images[:2],),
        train=train,
        validation=validation,
        test=test,
        outputs=(classes(),),
    )


def candidates(network: Network, count: int) -> list[Recipe]:
    """Recipes as a search proposes them."""
    draw, recipes = random.Random(0), []
    for index in range(count):
        chosen = {layer.name: draw.choice(KINDS) for layer in network.layers if not layer.float_only}
        precision = {name: kind for name, kind in chosen.items() if kind != "float32"}
        keep = {}
        for group in draw.sample(network.groups, draw.randint(1, 3)) if index % 2 else ():
            keep[group.name] = draw.choice(keep_counts(group, MULTIPLE)[1:-1])
        recipes.append(Recipe(precision=precision, keep=keep))
    return recipes


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """A block whose seconds are noted; what it computes leaves the device inside."""
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
    print(f"{name}: {seconds[name]:.1f} s", file=sys.stderr, flush=True)


def measured(device: str, count: int, samples: int, levels: Path) -> dict[str, float]:
    """The seconds of each part, and the candidates a minute with levels that are made and that are there."""
    seconds: dict[str, float] = {}
    with timed(seconds, "model"):
        task = task_of(samples)
        network = Network.trace(task.model, task.example_inputs)
    compressor = Compressor(task, network, CompressorOptions(device=device), levels_dir=levels)
    recipes = candidates(network, count)
    with timed(seconds, "original"):
        compressor.probe.kl(Recipe())
    with timed(seconds, "moments"):
        len(compressor.students.database.moments)
    layers = [layer.name for layer in network.layers if not layer.float_only][:PROBED]
    with timed(seconds, "sensitivities"):
        list(compressor.probe.sensitivities([Recipe(precision={name: "w4"}) for name in layers]))
    for name in ("candidates", "candidates again"):
        with timed(seconds, name):
            for recipe in recipes:
                compressor.probe.kl(recipe)
    with timed(seconds, "stitching, on the CPU"):
        for recipe in recipes:
            compressor.students.stitched(recipe)
    a_minute = {f"{name} a minute": 60 * count / seconds[name] for name in ("candidates", "candidates again")}
    return seconds | a_minute


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--samples", type=int, default=64, help="images of each split")
    parser.add_argument("--levels", type=Path, help="a folder for the level database, empty without")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        levels = given.levels or Path(folder)
        results = measured(given.device, given.candidates, given.samples, levels)
    if given.json:
        print(json.dumps({"device": given.device, **results}, indent=2))
        return
    for name, value in results.items():
        print(f"{name:28} {value:10.2f}")


if __name__ == "__main__":
    main()
