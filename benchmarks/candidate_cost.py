"""What a ResNet-20 candidate costs beyond its own recovery, validation and timing loop. About two minutes.

    python benchmarks/candidate_cost.py [--data ../shared/data] [--trials 12]

Runs a real search without recovery (pruned and int8 candidates) and prints medians: building (prune,
calibrate, edit the exported graph, quantize; target ≤ 0.3 s) and everything else (processes, checks,
sessions, bookkeeping; target ≤ 1 s).
"""

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path

from autocompress.compress import Precision, Recipe
from autocompress.explore.preparation.open_search import open_search
from autocompress.explore.preparation.prepare import prepare
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.sequential import Sequential
from autocompress.explore.session.progress import QuietProgress
from autocompress.explore.space.space import SearchSpace
from autocompress.results.run_directory import read_run

ROOT = Path(__file__).resolve().parent.parent
BUILD = ("prune", "calibrate", "build")
OWN = ("reconstruct", "recover", "validate", "timing loop")


def main() -> None:
    """Runs the search and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--trials", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        request = SearchRequest(
            task=f"{ROOT / 'examples' / 'cifar10.py'}:resnet20",
            arguments={"data": str(arguments.data)},
            target="cpu",
            batch=1,
            budget_s=None,
            trials=arguments.trials,
            sampler="random",
            seed=0,
            out=Path(folder) / "run",
            fresh=False,
            command="benchmarks/candidate_cost.py",
        )
        with (
            QuietProgress() as progress,
            open_search(prepare(request, progress), progress, strategy=strategy, finalists=False) as search,
        ):
            search.run()
            print_table(search.directory.path)


def strategy(*_: object, **__: object) -> Sequential:
    """Tries the chosen recipes one after the other."""
    return Sequential(first=chosen_recipes)


def chosen_recipes(space: SearchSpace, *, int8_pays: bool) -> list[Recipe]:
    """The original, uniform int8, then random keep levels and precisions; nothing is recovered."""
    draw = random.Random(0)
    recipes = [Recipe(), space.uniform_int8()]
    for _ in range(50):
        chosen = [(group, draw.choice(group.levels)) for group in space.groups if draw.random() < 0.5]
        keep = {group.name: level for group, level in chosen if level < group.channels}
        int8: dict[str, Precision] = {name: "int8" for name in space.quantizable if draw.random() < 0.8}
        recipes.append(Recipe(keep=keep, precision=int8))
    return recipes


def print_table(run: Path) -> None:
    """Wall-clock from the log, stages from the evaluations."""
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    started = {e["trial"]: e["elapsed_s"] for e in events if e["event"] == "started"}
    ended = {e["trial"]: e["elapsed_s"] for e in events if e["event"] == "finished"}
    points = [point for point in read_run(run).points if point.trial > 1]
    build, rest = [], []
    for point in points:
        seconds, trial = point.seconds, point.trial
        build.append(sum(seconds.get(stage, 0.0) for stage in BUILD))
        rest.append(ended[trial] - started[trial] - build[-1] - sum(seconds.get(stage, 0.0) for stage in OWN))
    print(f"{len(points)} candidates              median    maximum   target")
    print(f"build                    {statistics.median(build):7.2f} s {max(build):8.2f} s   ≤ 0.3 s")
    print(f"everything else          {statistics.median(rest):7.2f} s {max(rest):8.2f} s   ≤ 1 s")


if __name__ == "__main__":
    main()
