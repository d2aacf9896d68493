"""How well the probe's KL ranks the finished candidates of runs on ResNet-20, and what one costs in CPU
seconds.

python benchmarks/probe_ranks.py DATA RUN/front.json [RUN/front.json ...]
"""

import json
import sys
import time
from pathlib import Path

import torch
from autocompress.compress import Compressor, Network, Recipe
from autocompress.search.open_search import levels_folder
from autocompress.tasks.load import load_task
from scipy.stats import spearmanr

TASK = Path(__file__).resolve().parents[1] / "examples" / "cifar10.py"


def candidates(fronts: list[str]) -> list[tuple[Recipe, float]]:
    """Recipe and drop of every measured candidate; a recipe that several runs have counts once."""
    found = {}
    for front in fronts:
        run = json.loads(Path(front).read_text())
        for point in (*run["front"], *run["dominated"]):
            recipe = Recipe.from_json(point["recipe"])
            found[recipe.digest] = (recipe, float(point["drop"]))
    return list(found.values())


def main(data: str, *fronts: str) -> None:
    """Prints Spearman's correlation of KL and drop, of all and by recovery and drop."""
    torch.set_num_threads(1)
    task = load_task(f"{TASK}:resnet20", {"data": data})
    compressor = Compressor(task, Network.trace(task.model, task.example_inputs), levels_dir=levels_folder())
    known = candidates(list(fronts))
    compressor.probe.kl(known[0][0])
    began = time.thread_time()
    rows = [(compressor.probe.kl(recipe), drop, recipe.recovery is not None) for recipe, drop in known]
    print(f"{len(rows)} candidates, {(time.thread_time() - began) / len(rows):.2f} CPU-s each")
    for name, kept in {
        "all": rows,
        "not recovered": [row for row in rows if not row[2]],
        "recovered": [row for row in rows if row[2]],
        "not recovered, drop below 10 pp": [row for row in rows if not row[2] and row[1] < 0.1],
        "not recovered, drop below 3 pp": [row for row in rows if not row[2] and row[1] < 0.03],
    }.items():
        if len(kept) > 2:
            print(
                f"{name}: {spearmanr([row[0] for row in kept], [row[1] for row in kept])[0]:.3f} of {len(kept)}"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
