"""Coverage: what of many small architectures can be pruned, quantized and removed, and why the rest cannot.

    python benchmarks/zoo.py [--only REGEX] [--data ../shared/data] [--cases ../shared/cases]
        [--trace-only] [--markdown docs/models.md]

For each architecture: traced, built as it is, in int8, in 4 bits, with half of every group and without its first
block, each file checked against torch. Shares are of the weights in layers and tables. The reasons follow the
table. Architectures of timm, torchvision and transformers (`zoo_families`) are tried where these are installed.
"""

import argparse
import importlib
import logging
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from autocompress.benchmarks.zoo_families import families, versions
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.graph.graph import get_tensor
from autocompress.compress.graph.tracing.trace import example_tensors
from autocompress.compress.recipe import Precision
from autocompress.errors import AutocompressError
from autocompress.files import write_text
from autocompress.tasks.load import load_task
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.graph.test_followed import CASES
from autocompress.tests.compress.kinds import kind_task
from autocompress.tests.compress.onnx_file.test_parameter_tensors import ConvNext, VisionTransformer
from autocompress.tests.models import TINY_MODELS
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
# Where in the user's code a reason points to.
_PLACE = re.compile(r" \(\S+\.py:\d+[^)]*\)")
_PAGE = """# Models that were tried

What autocompress can do to common architectures, with random weights, few layers and small inputs ({versions}).
Written by `python benchmarks/zoo.py --only '^(timm|torchvision|hf)' --markdown docs/models.md`.

{count} architectures: {summary}.

Groups are sets of channels or heads of which some can be removed, blocks are residual branches that can be
removed, int8 counts layers that can have 8 and fewer bits. Shares are of the weights in layers and tables; small
models have large tables and heads, so that the shares of full-size ones are higher. Builds: the original, every
layer in int8, every layer in 4 bits, half of every group, and without the first block; each file's answers are
compared with torch.

| architecture | groups | blocks | int8 | prunable | quantizable | removable | builds like torch |
|---|--:|--:|--:|--:|--:|--:|---|
"""
Made = tuple[nn.Module, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Row:
    """One architecture: counts, shares of the weights, and by build whether it answers like torch;
    layers with what keeps them whole.
    """

    name: str
    counts: tuple[int, int, int]
    shares: tuple[float, float, float]
    builds: dict[str, str]
    reasons: tuple[tuple[str, str], ...]

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
    yield from families()


def _of_task(path: Path) -> Made:
    task = load_task(f"{path}:task", {})
    return task.model, example_tensors(task.example_inputs)


def row_of(name: str, model: nn.Module, inputs: tuple[Tensor, ...], *, build: bool) -> Row:
    """Traces one architecture, and builds it in several ways."""
    network = Network.trace(model.eval(), inputs)
    batch = tuple(torch.cat([x] * -(-16 // len(x)))[:16] for x in inputs)
    compressor = Compressor(kind_task(model, batch), network)
    builds = {}
    for form, recipe in _recipes(network).items() if build else ():
        try:
            with tempfile.TemporaryDirectory() as folder:
                built = compressor.build(recipe, Path(folder)).only
                check_outputs(run(str(built.artifact.path), built.check.inputs), built.check)
            builds[form] = f"{form}:ok"
        except Exception as error:  # the other builds are still of interest
            builds[form] = f"{form}:FAILED ({type(error).__name__}: {_line(error)})"
    reasons = tuple(dict.fromkeys((each.name, each.reason) for each in network.excluded))
    counts = (len(network.groups), len(network.blocks), len(_all(network, "int8")))
    return Row(name, counts, _shares(network), builds, reasons)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


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


def _page(rows: Sequence[Row], refused: Mapping[str, str]) -> str:
    """The table and the reasons as Markdown."""
    lines = [
        _PAGE.rstrip().format(versions=versions(), count=len(rows) + len(refused), summary=_summary(rows))
    ]
    for row in rows:
        failed = [text for text in row.builds.values() if not text.endswith(":ok")]
        shares = " | ".join(f"{share:.0%}" for share in row.shares)
        counts = " | ".join(str(count) for count in row.counts)
        lines.append(f"| {row.name} | {counts} | {shares} | {'; '.join(failed) or _all_or_none(row)} |")
    lines += [
        "",
        "## What stays whole or float32, and why",
        "",
        "| architectures | layers | reason |",
        "|--:|--:|---|",
    ]
    reasons = Counter(re.sub(_PLACE, "", reason) for row in rows for _, reason in row.reasons)
    for reason, layers in reasons.most_common():
        owners = [row for row in rows if any(re.sub(_PLACE, "", text) == reason for _, text in row.reasons)]
        lines.append(f"| {len(owners)} | {layers} | {reason} |")
    lines += ["", "## What is refused", ""]
    lines += [f"- {name}: {message}" for name, message in refused.items()] or ["Nothing of these."]
    return "\n".join(lines) + "\n"


def _all_or_none(row: Row) -> str:
    return "all" if row.builds else "not built"


def _summary(rows: Sequence[Row]) -> str:
    built = [row for row in rows if row.builds]
    good = sum(all(text.endswith(":ok") for text in row.builds.values()) for row in built)
    middles = [statistics.median(column) for column in zip(*(row.shares for row in rows), strict=True)]
    names = ("prunable", "quantizable", "removable")
    shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, middles, strict=True))
    return (
        f"{len(rows)} could be traced, {good} of the {len(built)} that were built answer like torch in every "
        f"build; medians of shares: {shares}"
    )


def main() -> None:
    """Prints a line for each architecture, then the reasons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a regular expression of names")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", type=Path, default=ROOT.parent / "shared" / "cases")
    parser.add_argument(
        "--markdown", type=Path, help="a page to write with the table, such as docs/models.md"
    )
    arguments = parser.parse_args()
    torch.manual_seed(0)
    logging.disable(logging.WARNING)
    print(f"{'':28} groups blocks   int8   prune   quant  remove  builds")
    rows, refused = [], {}
    for name, make in architectures(arguments.data, arguments.cases):
        if re.search(arguments.only, name):
            try:
                rows.append(row_of(name, *make(), build=not arguments.trace_only))
            except Exception as error:  # a table of all, also of what crashes
                word = (
                    "REFUSED" if isinstance(error, AutocompressError) else f"CRASHED {type(error).__name__}"
                )
                refused[name] = f"{word}: {_line(error)}"
                print(f"{name:28} {refused[name]}", flush=True)
                continue
            print(rows[-1], flush=True)
    print(f"\n{len(rows) + len(refused)} architectures: {_summary(rows)}")
    for row in rows:
        print(f"\n{row.name}", *(f"  {name}: {reason}" for name, reason in row.reasons), sep="\n")
    if arguments.markdown:
        write_text(arguments.markdown, _page(rows, refused))


if __name__ == "__main__":
    main()
