"""Coverage: what of many small architectures can be pruned, quantized and removed, and why the rest cannot.

    python benchmarks/zoo.py [--only REGEX] [--data ../shared/data] [--cases ../shared/cases]
        [--trace-only] [--rows DIR [--again]] [--markdown docs/models.md]

For each architecture: traced, built as it is, in int8, in 4 bits, with half of every group, without its first block
and with random mixtures of all levels (the probe runs these, too), each file checked against torch. Shares are of the weights in layers and tables. The reasons follow the
table. Architectures of timm, torchvision and transformers (`zoo_families`) are tried where these are installed.

The whole takes hours. `--rows DIR` keeps a file for each architecture in DIR, and takes what is there instead of
building it again: run parts with different `--only`, then all of them with `--markdown`, which only writes the page.
After a mend, `--again` makes the rows that failed anew (or delete the files of those to repeat). A row that was only
traced is made anew when builds are asked for. The seed is the same for each architecture, whatever ran before.
"""

import argparse
import importlib
import logging
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeGuard

import torch
from autocompress.benchmarks.zoo_families import families
from autocompress.benchmarks.zoo_rows import Row, page, save_row, saved_row, summary
from autocompress.compress import Compressor, CompressorOptions, Network, Recipe, check_outputs
from autocompress.compress.graph.graph import get_tensor
from autocompress.compress.graph.tracing.trace import example_tensors
from autocompress.compress.recipe import Precision
from autocompress.errors import AutocompressError
from autocompress.files import write_text
from autocompress.tasks.load import load_task
from autocompress.tasks.plain.plain_task import plain_task
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.graph.test_followed import CASES
from autocompress.tests.compress.kinds import kind_task
from autocompress.tests.compress.onnx_file.test_parameter_tensors import ConvNext, VisionTransformer
from autocompress.tests.compress.random_recipes import random_recipes
from autocompress.tests.models import TINY_MODELS
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
# Sixteen samples say nothing more often than once.
OPTIONS = CompressorOptions(database_samples=64, refit_samples=64, statistics_samples=64)
MIXED = 4  # random recipes of an architecture
Made = tuple[nn.Module, tuple[Tensor, ...]]


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
    yield from families()


def _of_task(path: Path) -> Made:
    task = load_task(f"{path}:task", {})
    return task.model, example_tensors(task.example_inputs)


def row_of(name: str, model: nn.Module, inputs: tuple[Tensor, ...], *, build: bool) -> Row:
    """Traces one architecture, and builds it in several ways."""
    network = Network.trace(model.eval(), inputs)
    batch = tuple(torch.cat([x] * -(-16 // len(x)))[:16] for x in inputs)
    compressor = Compressor(plain_task(kind_task(model, batch)), network, OPTIONS)
    builds = []
    for form, recipe in _recipes(network, name).items() if build else ():
        try:
            if form.startswith("mixed"):
                compressor.probe.kl(recipe)
            with tempfile.TemporaryDirectory() as folder:
                built = compressor.build(recipe, Path(folder)).only
                check_outputs(run(str(built.artifact.path), built.check.inputs), built.check)
            builds.append(f"{form}:ok")
        except Exception as error:  # the other builds are still of interest
            builds.append(f"{form}:FAILED ({type(error).__name__}: {_line(error)})")
    reasons = tuple(dict.fromkeys((each.name, each.reason) for each in network.excluded))
    counts = (len(network.groups), len(network.blocks), len(_all(network, "int8")))
    return Row(name, counts, _shares(network), tuple(builds), reasons)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _recipes(network: Network, name: str) -> dict[str, Recipe]:
    recipes = {"original": Recipe(), "int8": Recipe(precision=_all(network, "int8"))}
    recipes["int4"] = Recipe(precision=_all(network, "int4"))
    if network.groups:
        keep = {group.name: max(1, group.channels // 2) for group in network.groups}
        recipes["half"] = Recipe(keep=keep)
    if network.blocks:
        recipes["block"] = Recipe(skip=(network.blocks[0].name,))
    mixed = random_recipes(network, MIXED, seed=name)
    return recipes | {f"mixed {number}": recipe for number, recipe in enumerate(mixed, 1)}


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


def _made_or_refused(name: str, make: Callable[[], Made], *, build: bool) -> Row:
    torch.manual_seed(0)  # the same row, whatever was tried before
    try:
        return row_of(name, *make(), build=build)
    except Exception as error:  # a table of all, also of what crashes
        word = "REFUSED" if isinstance(error, AutocompressError) else f"CRASHED {type(error).__name__}"
        return Row(name, refused=f"{word}: {_line(error)}")


def _is_done(row: Row | None, arguments: argparse.Namespace) -> TypeGuard[Row]:
    """Whether the kept row answers what is asked now."""
    if row is None or (arguments.again and (row.failures or row.refused)):
        return False
    return bool(row.builds or row.refused or arguments.trace_only)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a regular expression of names")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", type=Path, default=ROOT.parent / "shared" / "cases")
    parser.add_argument("--trace-only", action="store_true", help="build nothing")
    parser.add_argument(
        "--rows", type=Path, help="a folder with a file for each architecture: none is made twice"
    )
    parser.add_argument("--again", action="store_true", help="of the kept rows, make those anew that failed")
    parser.add_argument(
        "--markdown", type=Path, help="a page to write with the table, such as docs/models.md"
    )
    return parser.parse_args()


def main() -> None:
    """Prints a line for each architecture, then the reasons."""
    arguments = _arguments()
    logging.disable(logging.WARNING)
    print(f"{'':28} groups blocks   int8   prune   quant  remove  builds")
    rows: list[Row] = []
    for name, make in architectures(arguments.data, arguments.cases):
        if not re.search(arguments.only, name):
            continue
        row = saved_row(name, arguments.rows) if arguments.rows else None
        if not _is_done(row, arguments):
            row = _made_or_refused(name, make, build=not arguments.trace_only)
            if arguments.rows:
                save_row(row, arguments.rows)
        rows.append(row)
        print(row, flush=True)
    print(f"\n{len(rows)} architectures: {summary(rows)}")
    for row in rows:
        print(f"\n{row.name}", *(f"  {name}: {reason}" for name, reason in row.reasons), sep="\n")
    if arguments.markdown:
        write_text(arguments.markdown, page(rows))


if __name__ == "__main__":
    main()
