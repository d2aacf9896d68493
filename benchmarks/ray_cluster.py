"""What a Ray cluster is worth: recoveries and builds a minute on two nodes of one core, over one process of
one core (target ≥ 1.7), and what is lost when a node dies (target 0).

    python benchmarks/ray_cluster.py [--data ../shared/data] [--recipes 8] [--steps 40]

Both build the same recipes of ResNet-20, half of them recoveries, in turns: process, cluster, process, cluster.
Starting, and loading the task, are not counted. Then a node dies while all builders work. It needs two cores
that nothing else uses, and takes about 5 minutes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from autocompress.compress.compressor import BuildResult
from autocompress.compress.options import FileFormat
from autocompress.compress.recipe import Precision, Recipe, Recovery
from autocompress.explore.beside.builders import Builders
from autocompress.explore.beside.messages import BuilderConfig
from autocompress.explore.beside.process import BuilderProcess
from autocompress.explore.beside.ray_builders import ClusterPlan, RayBuilders

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1", "layer3.1.conv1")
BITS: tuple[Precision, ...] = ("w8", "w6", "w4", "w3")
ONE_STEP = Recovery(steps=1, learning_rate=1e-3, temperature=4.0, weight=0.9)


def main() -> None:
    """Builds in turns, kills a node, prints the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--recipes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    recipes = recipes_of(arguments.recipes, arguments.steps)
    with tempfile.TemporaryDirectory() as folder:
        config = config_of(Path(folder), arguments.data)
        process_s, cluster_s = [], []
        with (
            cluster_of_two() as cluster,
            BuilderProcess(config, only_recoveries=True) as process,
            RayBuilders(plan_of(cluster.address), replace(config, cores=()), note=print) as nodes,
        ):
            warm_up(process, 1)
            warm_up(nodes, 2)
            for _ in range(2):
                process_s.append(seconds_of(process, recipes))
                cluster_s.append(seconds_of(nodes, recipes))
                one, two = process_s[-1], cluster_s[-1]
                print(f"{len(recipes)} recipes: process {one:.1f} s, nodes {two:.1f} s, {one / two:.2f} ×")
            print(f"recoveries and builds a minute: {min(process_s) / min(cluster_s):.2f} × (target ≥ 1.7)")
            for recipe in recipes:
                nodes.start(recipe)
            time.sleep(1.0)
            cluster.remove_node(next(iter(cluster.worker_nodes)))
            lost = sum(not isinstance(result, BuildResult) for result in results_of(nodes, len(recipes)))
            print(f"after a node's death: {lost} of {len(recipes)} candidates lost (target 0)")


def recipes_of(count: int, steps: int) -> list[Recipe]:
    """So many different ones, every other one with a recovery."""
    recipes = []
    for index in range(count):
        bits = {name: BITS[(index + place) % 4] for place, name in enumerate(LAYERS)}
        rate = 1e-3 * (1 + index / 100)
        recovery = replace(ONE_STEP, steps=steps, learning_rate=rate) if index % 2 else None
        recipe = Recipe(precision={**bits, "linear": BITS[index // 4 % 4]}, recovery=recovery)
        recipes.append(recipe)
    return recipes


def config_of(folder: Path, data: Path) -> BuilderConfig:
    """Builders of ResNet-20 with a cache of their own; a process keeps to the last core."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    own = folder / "cache" / "autocompress"
    for path in (own / "levels", own / "templates", folder / "out"):
        path.mkdir(parents=True)
    return BuilderConfig(
        task=f"{ROOT / 'examples' / 'cifar10.py'}:resnet20",
        arguments={"data": str(data.resolve())},
        formats=[FileFormat()],
        seed=0,
        memory_bytes=None,
        device="cpu",
        cache_dir=own / "templates",
        checks_dir=folder / "checks",
        levels_dir=own / "levels",
        out_dir=folder / "out",
        cores=sorted(os.sched_getaffinity(0))[-1:],
    )


@contextmanager
def cluster_of_two() -> "Iterator[Cluster]":
    """A head without CPUs, and two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def plan_of(address: str) -> ClusterPlan:
    """Nothing is sent to the nodes, which are this machine."""
    return ClusterPlan(address=address, folder=None, search="a benchmark", memory_bytes=1 << 30, spare=())


def warm_up(builders: Builders, count: int) -> None:
    """Waits until all have loaded the task, and lets each build something."""
    while builders.free < count:
        builders.poll(wait_s=0.5)
    recipes = [Recipe(recovery=replace(ONE_STEP, temperature=4.0 + index)) for index in range(count)]
    seconds_of(builders, recipes)


def seconds_of(builders: Builders, recipes: Sequence[Recipe]) -> float:
    """How long they take for all of the recipes."""
    began_s, left, waiting = time.monotonic(), len(recipes), list(recipes)
    while left:
        while waiting and builders.free:
            builders.start(waiting.pop())
        left -= builders.poll(wait_s=0.5) is not None
    return time.monotonic() - began_s


def results_of(builders: Builders, count: int) -> list[object]:
    """What became of so many recipes."""
    results: list[object] = []
    while len(results) < count:
        if (ready := builders.poll(wait_s=0.5)) is not None:
            results.append(ready.result)
    return results


if __name__ == "__main__":
    main()
