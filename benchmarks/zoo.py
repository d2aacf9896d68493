"""Coverage: what of many small architectures can be pruned, quantized and removed, and why the rest cannot.

    python benchmarks/zoo.py [--only REGEX] [--data ../shared/data] [--cases ../shared/cases]

For each architecture: traced, built as it is, in int8, in 4 bits, with half of every group and without its first
block, each file checked against torch. Shares are of the weights in layers and tables. The reasons follow the
table. Some of timm are tried where it is installed, with random weights.
"""

import argparse
import importlib.util
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.graph.graph import get_tensor
from autocompress.compress.graph.tracing.trace import example_tensors
from autocompress.compress.recipe import Precision
from autocompress.errors import AutocompressError
from autocompress.tasks.load import load_task
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.graph.test_followed import CASES
from autocompress.tests.compress.kinds import kind_task
from autocompress.tests.compress.onnx_file.test_parameter_tensors import ConvNext, VisionTransformer
from autocompress.tests.models import TINY_MODELS
from onnxruntime.capi.onnxruntime_pybind11_state import Fail as OrtFailure
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
TIMM = (
    "resnet18",
    "convnext_atto",
    "mobilenetv3_small_050",
    "vit_tiny_patch16_224",
    "efficientnet_b0",
    "regnetx_002",
)
Made = tuple[nn.Module, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture: counts, shares of the weights, and by build whether it answers like torch."""

    name: str
    counts: tuple[int, int, int]
    shares: tuple[float, float, float]
    builds: dict[str, str]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        numbers = " ".join(f"{count:6}" for count in self.counts)
        shares = " ".join(f"{share:7.0%}" for share in self.shares)
        return f"{self.name:28} {numbers} {shares}  {' '.join(self.builds.values())}"


def architectures(data: Path, cases: Path) -> Iterator[tuple[str, Callable[[], Made]]]:
    """Names, and what makes the model and a batch of inputs."""
    for row in TINY_MODELS:
        yield row.name, lambda row=row: (row.build(), row.example_inputs())  # type: ignore[misc]
    for name, (make, shape, _) in CASES.items():
        yield f"followed {name}", lambda make=make, shape=shape: (make(), (torch.randn(2, *shape),))  # type: ignore[misc]
    for make in (VisionTransformer, ConvNext):
        yield make.__name__, lambda make=make: (make(), (torch.randn(2, 3, 8, 8),))  # type: ignore[misc]
    if (data / "nets.py").exists():
        sys.path.insert(0, str(data))
        nets = importlib.import_module("nets")
        shapes = {"dscnn_kws": (1, 49, 10), "mobilenet_025": (3, 224, 224)}
        yield "stories260k", lambda: (nets.load("stories260k"), (torch.randint(512, (2, 32)),))
        for name, shape in shapes.items():
            yield name, lambda name=name, shape=shape: (nets.load(name), (torch.randn(2, *shape),))  # type: ignore[misc]
    for path in sorted(cases.glob("*.py")):
        if "def task(" in path.read_text():
            yield f"case {path.stem}", lambda path=path: _of_task(path)  # type: ignore[misc]
    if importlib.util.find_spec("timm"):
        timm = importlib.import_module("timm")
        for name in TIMM:
            yield f"timm {name}", lambda name=name: (timm.create_model(name), (torch.randn(2, 3, 224, 224),))  # type: ignore[misc]


def _of_task(path: Path) -> Made:
    task = load_task(f"{path}:task", {})
    return task.model, example_tensors(task.example_inputs)


def row_of(name: str, model: nn.Module, inputs: tuple[Tensor, ...]) -> Row:
    """Traces and builds one architecture."""
    network = Network.trace(model.eval(), inputs)
    batch = tuple(torch.cat([x] * -(-64 // len(x)))[:64] for x in inputs)
    compressor = Compressor(kind_task(model, batch), network)
    builds = {}
    for build, recipe in _recipes(network).items():
        try:
            with tempfile.TemporaryDirectory() as folder:
                built = compressor.build(recipe, Path(folder)).only
                check_outputs(run(str(built.artifact.path), built.check.inputs), built.check)
            builds[build] = f"{build}:ok"
        except (AutocompressError, AssertionError, OrtFailure) as error:
            builds[build] = f"{build}:FAILED ({str(error)[:80]})"
    reasons = tuple(dict.fromkeys(f"{each.name}: {each.reason}" for each in network.excluded))
    counts = (len(network.groups), len(network.blocks), len(_all(network, "int8")))
    return Row(name, counts, _shares(network), builds, reasons)


def _recipes(network: Network) -> dict[str, Recipe]:
    recipes = {"original": Recipe(), "int8": Recipe(precision=_all(network, "int8"))}
    recipes["int4"] = Recipe(precision=_all(network, "int4"))
    if network.groups:
        keep = {group.name: max(1, group.channels // 2) for group in network.groups}
        recipes["half"] = Recipe(keep=keep)
    if network.blocks:
        recipes["block"] = Recipe(skip=(network.blocks[0].name,))
    return recipes


def _all(network: Network, precision: Precision) -> dict[str, Precision]:
    """Layers that are called twice stay float32: ONNX Runtime with exact sums refuses their file."""
    return {layer.name: precision for layer in network.layers if not layer.float_only and layer.uses == 1}


def _shares(network: Network) -> tuple[float, float, float]:
    """Of all weights: those that pruning can shrink, that can have fewer bits, and that are in a block."""
    weights = {layer.weight: layer.weight_numel for layer in network.layers}
    weights |= {
        name: get_tensor(network.module, name).numel()
        for one in network.rest
        for name in one.names
        if one.reason and one.trained
    }
    shrinking = {name for group in network.groups for name, _ in group.units[0].indices}
    quantized = {layer.weight for layer in network.layers if not layer.float_only}
    names = {layer for block in network.blocks for layer in block.layers}
    removable = {layer.weight for layer in network.layers if layer.name in names}
    total = sum(weights.values())
    prunable, fewer_bits, gone = (
        sum(size for name, size in weights.items() if name in part) / total
        for part in (shrinking, quantized, removable)
    )
    return prunable, fewer_bits, gone


def main() -> None:
    """Prints a line for each architecture, then the reasons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a regular expression of names")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", type=Path, default=ROOT.parent / "shared" / "cases")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{'':28} groups blocks   int8   prune   quant  remove  builds")
    rows = []
    for name, make in architectures(arguments.data, arguments.cases):
        if re.search(arguments.only, name):
            try:
                rows.append(row_of(name, *make()))
            except AutocompressError as error:
                print(f"{name:28} REFUSED: {str(error)[:200]}", flush=True)
                continue
            print(rows[-1], flush=True)
    middles = [sorted(column)[len(rows) // 2] for column in zip(*(row.shares for row in rows), strict=True)]
    print(f"\n{len(rows)} architectures; median shares: " + ", ".join(f"{share:.0%}" for share in middles))
    for row in rows:
        print(f"\n{row.name}", *(f"  {reason}" for reason in row.reasons), sep="\n")


if __name__ == "__main__":
    main()
