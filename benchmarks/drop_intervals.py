"""How wide the interval of a drop is, and how often it holds the drop. About ten minutes on a busy core.

    python benchmarks/drop_intervals.py [--data ../shared/data] [--draws 300]

ResNet-20 is compressed to a few bits by the Compressor and runs in ONNX Runtime; of three other networks the
weights are rounded, one scale for each output channel. For each candidate: the metric and the drop on the
first half of the samples (ResNet-20: the first 5,000 test images of CIFAR-10), each with its interval by
evaluation/uncertainty.py. "Holds" is how often the interval of a random half holds the drop on all samples:
of a half drawn with replacement, as if from an endless supply, where 95 % is what it should be; and of a half
of these samples, which knows more of their drop than of an endless supply's. Macro F1 is no mean over
samples: it is resampled.
"""

import argparse
import copy
import importlib.util
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from autocompress.compress import Compressor, Recipe
from autocompress.compress import Network as CompressorNetwork
from autocompress.compress.recipe import Precision
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.evaluation.uncertainty import Scores, drop_interval, scores_of
from autocompress.profiles import load_profile
from autocompress.targets.session import joined
from autocompress.targets.target import Target
from autocompress.tasks.load import load_task
from autocompress.tasks.task import Metric, accuracy
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset

ROOT = Path(__file__).resolve().parent.parent
FEW_DRAWS = 40  # of a metric that is resampled


def tokens_right(outputs: Tensor, targets: Tensor) -> float:
    """The share of next tokens that are right, of N × T chosen tokens."""
    return float((outputs == targets).float().mean())


def macro_f1(outputs: Tensor, targets: Tensor) -> float:
    """The mean of the F1 scores of all classes, outputs N × classes."""
    classes = outputs.shape[1]
    pairs = torch.bincount(targets * classes + outputs.argmax(1), minlength=classes**2)
    table = pairs.view(classes, classes)
    return float((2 * table.diag() / (table.sum(0) + table.sum(1)).clamp(min=1)).mean())


TOP1 = Metric(name="top-1", function=accuracy)
F1 = Metric(name="macro F1", function=macro_f1)
TOKENS = Metric(name="next token", function=tokens_right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a network answers to its samples, the targets, and what its candidates answer, by their names."""

    name: str
    original: Tensor
    targets: Tensor
    candidates: Iterator[tuple[str, Tensor]]
    metrics: tuple[Metric, ...] = (TOP1,)


def main() -> None:
    """Prints a line for each metric of each candidate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--draws", type=int, default=300)
    arguments = parser.parse_args()
    print("in per cent and points                      metric              drop            holds")
    print("network       candidate samples     original      candidate         paired   endless  of half")
    with tempfile.TemporaryDirectory() as folder:
        first = resnet(arguments.data, Path(folder))
        for network in chain([first], others(arguments.data)):  # each is done before the next is loaded
            for name, candidate in network.candidates:
                for metric in network.metrics:
                    print(line(network, name, metric, candidate, draws=arguments.draws), flush=True)


def resnet(data: Path, folder: Path) -> Network:
    """ResNet-20 with artifacts of the Compressor, on both halves of the test images."""
    task = load_task(f"{ROOT / 'examples' / 'cifar10.py'}:resnet20", {"data": str(data)})
    compressor = Compressor(
        task,
        CompressorNetwork.trace(task.model, task.example_inputs),
        cache_dir=folder / "cache",
        levels_dir=folder / "levels",
    )
    splits = [StoredSplit(split, folder / name) for split, name in ((task.validation, "a"), (task.test, "b"))]

    def ran(recipe: Recipe) -> Tensor:
        path = compressor.build(recipe, folder).only.artifact.path
        with Target(load_profile("cpu")).session() as session:
            parts = [
                joined([outputs for outputs, _ in split.answered(session, path, batch=250)])[0]
                for split in splits
            ]
        return torch.cat([torch.from_numpy(part) for part in parts])

    names = [layer.name for layer in compressor.network.layers]

    def few_bits(precision: Precision, wider: tuple[str, ...] = ()) -> Recipe:
        chosen: dict[str, Precision] = dict.fromkeys(names, precision)
        chosen |= {name: "int4" for name in names if wider and name.startswith(wider)}
        return Recipe(precision={**chosen, names[0]: "int8", names[-1]: "int8"})

    recipes = {
        "int8": few_bits("int8"),
        "int4": few_bits("int4"),
        "int4, int3": few_bits("int3", ("layer1", "layer2")),
        "int3": few_bits("int3"),
    }
    return Network(
        name="ResNet-20",
        original=ran(Recipe()),
        targets=torch.cat([torch.as_tensor(split.targets) for split in splits]),
        candidates=((name, ran(recipe)) for name, recipe in recipes.items()),
        metrics=(TOP1, F1),
    )


def others(data: Path) -> Iterator[Network]:
    """The keyword spotter, MobileNet and the language model of the test material, with rounded weights."""
    nets = module(data / "nets.py")
    for name, title, bits in (
        ("dscnn_kws", "DS-CNN", (6, 5, 4)),
        ("mobilenet_025", "MobileNet", (8, 6)),
        ("stories260k", "Stories-260K", (6, 5, 4)),
    ):
        parts, model, of_tokens = nets.splits(name), nets.load(name), name == "stories260k"
        samples: Dataset[Any] = ConcatDataset([parts["validation"], parts["test"]])
        said, targets = answers(model, samples, of_tokens=of_tokens)
        yield Network(
            name=title,
            original=said,
            targets=targets,
            candidates=(
                (f"{count} bits", answers(rounded(model, count), samples, of_tokens=of_tokens)[0])
                for count in bits
            ),
            metrics=(TOKENS if of_tokens else TOP1,),
        )


def module(path: Path) -> ModuleType:
    """A Python file of the test material."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def rounded(model: nn.Module, bits: int) -> nn.Module:
    """A copy whose weights have so many bits: rounded to the nearest, one scale for each output channel."""
    made, most = copy.deepcopy(model), 2 ** (bits - 1) - 1
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                scale = weight.abs().flatten(1).amax(1).clamp(min=1e-9) / most
                scale = scale.view(-1, *[1] * (weight.ndim - 1))
                weight.copy_((weight / scale).round() * scale)
    return made


def answers(model: nn.Module, samples: Dataset[Any], *, of_tokens: bool) -> tuple[Tensor, Tensor]:
    """What the model says of all samples (of tokens: the likeliest one), and the targets."""
    outputs, targets = [], []
    with torch.inference_mode():
        for x, y in DataLoader(samples, batch_size=10 if of_tokens else 250):
            said = model(x)
            outputs.append(said.argmax(-1) if of_tokens else said)
            targets.append(y)
    return torch.cat(outputs), torch.cat(targets)


def line(network: Network, name: str, metric: Metric, candidate: Tensor, *, draws: int) -> str:
    """The metric on the first half with its intervals, and how often an interval of a half holds the drop."""
    pair, targets = (network.original, candidate), network.targets
    half = len(targets) // 2
    before, after = scores(metric, pair, targets, torch.arange(half))
    apart = [sure(each.interval(metric)) for each in (before, after)]
    drop, paired = before.value - after.value, sure(drop_interval(metric, before, after))
    endless = held(metric, pair, targets, draws=draws, replacement=True)
    of_half = held(metric, pair, targets, draws=draws, replacement=False)
    return (
        f"{network.name:13s} {name:10s} {half:6d}  {100 * before.value:6.2f} ±{apart[0]:.2f}  "
        f"{100 * after.value:6.2f} ±{apart[1]:.2f}  {100 * drop:5.2f} ±{paired:.2f}   {endless:7.1f}  "
        f"{of_half:7.1f}  {metric.name}"
    )


def held(
    metric: Metric, pair: tuple[Tensor, Tensor], targets: Tensor, *, draws: int, replacement: bool
) -> float:
    """How often, in per cent, the interval of a random half holds the drop on all samples."""
    generator, count = torch.Generator().manual_seed(1), len(targets)
    before, after = scores(metric, pair, targets, torch.arange(count))
    drop, times = before.value - after.value, 0
    draws = draws if before.parts is not None else min(draws, FEW_DRAWS)
    for _ in range(draws):
        if replacement:
            index = torch.randint(count, (count // 2,), generator=generator)
        else:
            index = torch.randperm(count, generator=generator)[: count // 2]
        low, high = drop_interval(metric, *of_part(metric, (before, after), pair, targets, index)) or (1, 1)
        times += low <= drop <= high
    return 100 * times / draws


def of_part(
    metric: Metric, whole: tuple[Scores, Scores], pair: tuple[Tensor, Tensor], targets: Tensor, index: Tensor
) -> tuple[Scores, Scores]:
    """The scores of some samples, out of those of all where the metric is a mean."""
    chosen = []
    for each in whole:
        if each.parts is None:
            return scores(metric, pair, targets, index)
        parts = each.parts[index.numpy()]
        chosen.append(Scores(value=float(parts.mean()), samples=len(parts), parts=parts))
    return chosen[0], chosen[1]


def scores(
    metric: Metric, pair: tuple[Tensor, Tensor], targets: Tensor, index: Tensor
) -> tuple[Scores, Scores]:
    """The scores of original and candidate on these samples."""
    before = scores_of(metric, [pair[0][index].numpy()], targets[index])
    return before, scores_of(metric, [pair[1][index].numpy()], targets[index], like=before)


def sure(interval: tuple[float, float] | None) -> float:
    """Half of the interval, in points."""
    assert interval is not None
    return 50 * (interval[1] - interval[0])


if __name__ == "__main__":
    main()
