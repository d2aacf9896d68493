"""How well the probe's KL ranks candidates by what the finished file loses, and what one costs in CPU seconds.

    python benchmarks/probe_ranks.py DATA NETWORK [--count 40] [--seed 0]      (dscnn, mobilenet, resnet20)
    python benchmarks/probe_ranks.py DATA resnet20 --run RUN [RUN ...]

Without runs, `count` candidates are drawn: islands and mixes of all precisions, some with fewer channels. Each
is built, and its file is asked for the validation split in ONNX Runtime. With runs of a search, the candidates
that they measured.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
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
from scipy.stats import spearmanr

ROOT = Path(__file__).resolve().parents[1]
TASKS = {
    "dscnn": "benchmarks/edge_nets.py:keywords",
    "mobilenet": "benchmarks/edge_nets.py:mobilenet",
    "resnet20": "examples/cifar10.py:resnet20",
}
VALIDATION = 1000  # images that a file is asked for
Row = tuple[Recipe, float]


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
    compressor.probe.kl(measured[0][0])
    began = time.thread_time()
    rows = [(compressor.probe.kl(recipe), drop, recipe.recovery is not None) for recipe, drop in measured]
    print(f"{len(rows)} candidates, {(time.thread_time() - began) / len(rows):.2f} CPU-s each")
    for name, chosen in {
        "all": rows,
        "not recovered": [row for row in rows if not row[2]],
        "recovered": [row for row in rows if row[2]],
        "not recovered, drop below 10 pp": [row for row in rows if not row[2] and row[1] < 0.1],
        "not recovered, drop below 3 pp": [row for row in rows if not row[2] and row[1] < 0.03],
    }.items():
        if len(chosen) > 2:
            kls, drops = [row[0] for row in chosen], [row[1] for row in chosen]
            print(f"{name}: {spearmanr(kls, drops)[0]:.3f} of {len(chosen)}")


def of_runs(directories: list[Path]) -> list[Row]:
    """Recipe and drop of every measured candidate; a recipe that several runs have counts once."""
    drops = {}
    for directory in directories:
        run = read_run(directory)
        for point in run.points:
            drop = max(measured.drop for measured in run.measured(point).values())
            drops[point.recipe.digest] = (point.recipe, drop)
    return list(drops.values())


def drawn(space: SearchSpace, count: int, seed: int) -> list[Recipe]:
    """Candidates of all sizes of loss: bits in one run of layers (`inside`) and in the others, and now and then
    fewer channels.
    """
    draw, recipes = random.Random(seed), []
    for _ in range(count):
        names = list(space.precisions)
        first, last = sorted(draw.sample(range(len(names) + 1), 2))
        inside, outside = (draw.choice(("float32", "int8", "w8", "int6", "w6", "int4", "w4")) for _ in "io")
        wanted = {name: inside if first <= at < last else outside for at, name in enumerate(names)}
        precision = {name: kind for name, kind in wanted.items() if kind in space.precisions[name][1:]}
        groups = draw.sample(space.groups, 1) if draw.random() < 0.3 else []
        keep = {group.name: draw.choice(group.levels[-3:-1] or group.levels[:1]) for group in groups}
        recipes.append(space.canonical(Recipe(precision=precision, keep=keep)))
    return list({recipe.digest: recipe for recipe in recipes if recipe != Recipe()}.values())


def built(compressor: Compressor, task: Task, recipes: list[Recipe]) -> list[Row]:
    """The candidates with the drops of their files."""
    count = min(VALIDATION, len(task.validation))  # type: ignore[arg-type]
    samples = [task.validation[index] for index in range(count)]  # type: ignore[index]
    x, y = torch.stack([sample[0] for sample in samples]).numpy(), np.array([int(s[1]) for s in samples])
    with tempfile.TemporaryDirectory() as folder:

        def right(recipe: Recipe) -> float:
            path = compressor.build(recipe, Path(folder)).only.artifact.path
            return float((np.concatenate([*_answers(path, x)]).argmax(1) == y).mean())

        original = right(Recipe())
        return [(recipe, original - right(recipe)) for recipe in recipes]


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
