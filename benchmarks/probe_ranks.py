"""How well the probe's KL ranks candidates by what the finished file loses, and what one costs in CPU seconds.

    python benchmarks/probe_ranks.py DATA NETWORK [--count 40] [--seed 0]
    python benchmarks/probe_ranks.py DATA NETWORK --run RUN [RUN ...]

Networks: dscnn, mobilenet, stories, resnet20, resnet8. Without runs, `count` candidates are drawn: islands and
mixes of precisions, some with fewer channels or without a block. Each is built, and its file is asked for the
validation split in ONNX Runtime. With runs of a search, the candidates that they measured.

Drops have the noise of the validation split: `at most` is the correlation that a perfect predictor would have
with them (the square root of their reliability, from random halves of the split), and the KL of the built
files' answers has less of it. Integer layers have 6 bits or fewer, which saturate on no CPU.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from autocompress.compress import Compressor, Network, Recipe
from autocompress.explore.preparation.deterministic import levels_folder
from autocompress.explore.space.space import SearchSpace
from autocompress.profiles import load_profile
from autocompress.results.run_directory import read_run
from autocompress.tasks import Task
from autocompress.tasks.load import load_task
from scipy.special import log_softmax
from scipy.stats import spearmanr

ROOT = Path(__file__).resolve().parents[1]
TASKS = {
    "dscnn": "benchmarks/edge_nets.py:keywords",
    "mobilenet": "benchmarks/edge_nets.py:mobilenet",
    "stories": "benchmarks/edge_nets.py:stories",
    "resnet20": "examples/cifar10.py:resnet20",
    "resnet8": "examples/cifar10.py:resnet8",
}
VALIDATION = 1000  # samples that a file is asked for
KINDS = ("float32", "w8", "w6", "w4", "w3", "int6", "int4")
SPLITS = 200  # of the validation split into halves


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A candidate with its drop and, where its file was asked, the KL of its answers and the drop by sample."""

    recipe: Recipe
    drop: float
    kl: float | None = None
    by_sample: np.ndarray | None = None

    @property
    def kind(self) -> str:
        """What the candidate does besides bits."""
        pruned = self.recipe.keep or self.recipe.rank
        return "without a block" if self.recipe.skip else "fewer channels" if pruned else "bits alone"


def main() -> None:
    """Prints Spearman's correlation of KL and drop, of all and by recovery and drop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("network", choices=TASKS)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, nargs="+", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    file, function = TASKS[arguments.network].split(":")
    task = load_task(f"{ROOT / file}:{function}", {"data": str(arguments.data)})
    network = Network.trace(task.model, task.example_inputs)
    compressor = Compressor(task, network, levels_dir=levels_folder())
    if arguments.run:
        measured = of_runs(arguments.run)
    else:
        recipes = drawn(SearchSpace.of(network, load_profile("cpu")), arguments.count, arguments.seed)
        measured = built(compressor, task, recipes)
    report(compressor, measured)


def report(compressor: Compressor, measured: list[Row]) -> None:
    """Probes the candidates, and prints the table."""
    compressor.probe.kl(measured[0].recipe)
    began = time.thread_time()
    probed = [compressor.probe.kl(row.recipe) for row in measured]
    print(f"{len(measured)} candidates, {(time.thread_time() - began) / len(measured):.2f} CPU-s each")
    rows = list(zip(measured, probed, strict=True))
    bare = [pair for pair in rows if pair[0].recipe.recovery is None]
    groups = {"all": rows, "recovered": [pair for pair in rows if pair[0].recipe.recovery is not None]}
    groups |= {"not recovered, drop below 10 pp": [pair for pair in bare if pair[0].drop < 0.1]}
    groups |= {"not recovered, drop below 3 pp": [pair for pair in bare if pair[0].drop < 0.03]}
    for kind in ("bits alone", "fewer channels", "without a block"):
        groups[f"not recovered, {kind}"] = [pair for pair in bare if pair[0].kind == kind]
    for name, chosen in groups.items():
        if len(chosen) > 2:
            print(
                f"{name}, {len(chosen)}: {correlations([pair[0] for pair in chosen], [pair[1] for pair in chosen])}"
            )


def correlations(rows: Sequence[Row], probed: Sequence[float]) -> str:
    """Spearman's of the probe's KL with the drops and, where files were asked, with the KL of their answers."""
    drops = [row.drop for row in rows]
    text = f"with the drop {spearmanr(probed, drops)[0]:.3f}"
    if any(row.kl is None or row.by_sample is None for row in rows):
        return text
    by_sample = np.array([row.by_sample for row in rows])
    text += f" (at most {ceiling(by_sample):.3f})"
    return f"{text}, with the file's KL {spearmanr(probed, [row.kl for row in rows])[0]:.3f}"


def ceiling(by_sample: np.ndarray) -> float:
    """The square root of the reliability of drops (candidates × samples), by the formula of Spearman and Brown."""
    draw, halves = np.random.default_rng(0), []
    for _ in range(SPLITS):
        order = draw.permutation(by_sample.shape[1])
        one, other = (by_sample[:, part].mean(axis=1) for part in np.array_split(order, 2))
        halves.append(spearmanr(one, other)[0])
    half = max(0.0, float(np.nanmean(halves)))
    return float(np.sqrt(2 * half / (1 + half)))


def of_runs(directories: list[Path]) -> list[Row]:
    """Recipe and drop of every measured candidate; a recipe that several runs have counts once."""
    drops = {}
    for directory in directories:
        run = read_run(directory)
        for point in run.points:
            drop = max(measured.drop for measured in run.measured(point).values())
            drops[point.recipe.digest] = Row(recipe=point.recipe, drop=drop)
    return list(drops.values())


def drawn(space: SearchSpace, count: int, seed: int) -> list[Recipe]:
    """Candidates of all sizes of loss: bits in one run of layers (`inside`) and in the others, half of them
    with fewer channels in up to three groups or without a block.
    """
    draw, recipes = random.Random(seed), []
    for _ in range(count):
        names = list(space.precisions)
        first, last = sorted(draw.sample(range(len(names) + 1), 2))
        inside, outside = (draw.choice(KINDS) for _ in "io")
        wanted = {name: inside if first <= at < last else outside for at, name in enumerate(names)}
        precision = {name: kind for name, kind in wanted.items() if kind in space.precisions[name][1:]}
        chance, keep = draw.random(), dict[str, int]()
        skip: tuple[str, ...] = ()
        if chance < 0.4:
            for group in draw.sample(space.groups, min(len(space.groups), draw.randint(1, 3))):
                keep[group.name] = draw.choice(group.levels[-4:-1])
        elif chance < 0.5 and space.blocks:
            skip = (draw.choice(list(space.blocks)),)
        recipes.append(space.canonical(Recipe(precision=precision, keep=keep, skip=skip)))
    return list({recipe.digest: recipe for recipe in recipes if recipe != Recipe()}.values())


def built(compressor: Compressor, task: Task, recipes: list[Recipe]) -> list[Row]:
    """The candidates with what their files answer."""
    count = min(VALIDATION, len(task.validation))  # type: ignore[arg-type]
    samples = [task.validation[index] for index in range(count)]  # type: ignore[index]
    x, y = (
        torch.stack([sample[0] for sample in samples]).numpy(),
        np.array([np.asarray(s[1]) for s in samples]),
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:

        def answers(recipe: Recipe) -> np.ndarray:
            path = compressor.build(recipe, Path(folder)).only.artifact.path
            return np.concatenate([*_answers(path, x)])

        original = answers(Recipe())
        for recipe in recipes:
            theirs = answers(recipe)
            lost = (original.argmax(-1) == y).astype(float) - (theirs.argmax(-1) == y)
            by_sample = lost.reshape(len(y), -1).mean(axis=1)
            divergence = float(_divergence(original, theirs).mean())
            rows.append(Row(recipe=recipe, drop=float(lost.mean()), kl=divergence, by_sample=by_sample))
    return rows


def _divergence(original: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    ours, others = (log_softmax(scores.astype(np.float64), axis=-1) for scores in (original, theirs))
    return np.asarray((np.exp(ours) * (ours - others)).sum(-1))


def _answers(path: Path, x: np.ndarray) -> Iterator[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("optimization.disable_specified_optimizers", "WeightBiasQuantization")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    for start in range(0, len(x), 50):
        yield session.run(None, {given.name: x[start : start + 50]})[0]


if __name__ == "__main__":
    main()
