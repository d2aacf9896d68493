"""How well the probe's KL ranks the finished candidates of runs on ResNet-20, and what one costs in CPU
seconds.

python benchmarks/probe_ranks.py DATA RUN [RUN ...]
"""

import sys
import time
from pathlib import Path

import torch
from autocompress.compress import Compressor, Network, Recipe
from autocompress.explore.preparation.deterministic import levels_folder
from autocompress.results.run_directory import read_run
from autocompress.tasks.load import load_task
from scipy.stats import spearmanr

TASK = Path(__file__).resolve().parents[1] / "examples" / "cifar10.py"


def candidates(directories: list[str]) -> list[tuple[Recipe, float]]:
    """Recipe and drop of every measured candidate; a recipe that several runs have counts once."""
    drops = {}
    for directory in directories:
        run = read_run(Path(directory))
        for point in run.points:
            drop = max(measured.drop for measured in run.measured(point).values())
            drops[point.recipe.digest] = (point.recipe, drop)
    return list(drops.values())


def main(data: str, *directories: str) -> None:
    """Prints Spearman's correlation of KL and drop, of all and by recovery and drop."""
    torch.set_num_threads(1)
    task = load_task(f"{TASK}:resnet20", {"data": data})
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs), levels_dir=levels_folder())
    measured = candidates(list(directories))
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


if __name__ == "__main__":
    main(*sys.argv[1:])
