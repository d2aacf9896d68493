"""The figures of single candidates: accuracy, size and latency of ResNet-20, -56 and -8 compressed in every
way.

    python benchmarks/compression.py [--data ../shared/data] [--rows REGEX] [--work runs/compression]
    [--again]

Accuracy is that of the ONNX file in ONNX Runtime on the validation half (training stops by it), on the test
half, and on all 10,000 test images; sizes are those of the file; latency is a ratio to float32 by the
measuring protocol, one thread, batch 1. All rows take about three hours on two cores; a row that was made
before is read from benchmarks/results/compression.json (its file is kept in --work), so that a killed run
goes on, in the middle of a training too. `--rows` chooses rows.
"""

import argparse
import json
import re
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from autocompress.compress import Compressor, Network, Recipe, Recovery, check_outputs
from autocompress.compress.graph.channels import keep_counts
from autocompress.compress.levels.stitch import stitch
from autocompress.compress.recipe import Precision
from autocompress.compress.student.prune import prune, removed_units
from autocompress.evaluation.stored_split import StoredSplit
from autocompress.files import write_text
from autocompress.profiles import FINALIST_TIMING, load_profile
from autocompress.targets.session import joined
from autocompress.targets.target import Target
from autocompress.tasks.load import load_task
from autocompress.tasks.quality import score

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "compression.json"
RECOVERY = Recovery(steps=1, learning_rate=2e-3, temperature=4.0, weight=0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A candidate to build: `recipe` makes it from the compressor, `minutes` of recovery (0: none)."""

    name: str
    model: str
    recipe: Callable[[Compressor], Recipe]
    minutes: float = 0
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a row; accuracies in percent, the ratio with its 95 % interval, None until measured."""

    name: str
    model: str
    target: str
    file: str
    size_bytes: int
    macs: float
    validation: float
    test: float
    seconds: Mapping[str, float]
    ratio: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def all_images(self) -> float:
        """Accuracy on all 10,000 test images: the halves are of equal size."""
        return (self.validation + self.test) / 2


def whole(compressor: Compressor) -> Recipe:
    """The original."""
    return Recipe()


def uniform(precision: Precision, *, wide: str = "") -> Callable[[Compressor], Recipe]:
    """Every layer in `precision`, first and last in int8; layers whose names match `wide` in int4."""

    def recipe(compressor: Compressor) -> Recipe:
        names = [layer.name for layer in compressor.network.layers]
        chosen: dict[str, Precision] = dict.fromkeys(names, precision)
        chosen |= {name: "int4" for name in names if wide and re.match(wide, name)}
        return Recipe(precision={**chosen, names[0]: "int8", names[-1]: "int8"})

    return recipe


def pruned(
    share: float, *, multiple: int, skip: tuple[str, ...] = (), inner: bool = True
) -> Callable[[Compressor], Recipe]:
    """`share` of the MACs left: channels go where the database's error per multiplication saved is least."""

    def recipe(compressor: Compressor) -> Recipe:
        network, database = compressor.network, compressor.students.database
        gone = {layer for block in network.blocks if block.name in skip for layer in block.layers}
        groups = [
            g for g in network.groups if (len(g.layers) == 1 or not inner) and not gone.issuperset(g.layers)
        ]
        orders = {group.name: database.removal(group) for group in groups}
        found = Recipe(keep={group.name: group.channels for group in groups}, skip=tuple(sorted(skip)))
        while network.cost(found).macs > share * network.macs:
            found = min(_smaller(network, orders, found, multiple), key=lambda item: item[0])[1]
        return Recipe(
            keep={n: k for n, k in found.keep.items() if k < network.group_by_name[n].channels},
            skip=found.skip,
        )

    return recipe


def _smaller(
    network: Network, orders: Mapping[str, Any], recipe: Recipe, multiple: int
) -> Iterable[tuple[float, Recipe]]:
    """Error per multiplication saved, and the recipe, of every next smaller level of one group."""
    macs = network.cost(recipe).macs
    for name, count in recipe.keep.items():
        group = network.group_by_name[name]
        fewer = [level for level in keep_counts(group, multiple) if level < count]
        if fewer and orders[name] is not None:
            errors = orders[name].errors
            smaller = Recipe(keep={**recipe.keep, name: fewer[-1]}, skip=recipe.skip)
            error = errors[group.channels - fewer[-1]] - errors[group.channels - count]
            yield error / (macs - network.cost(smaller).macs), smaller


def both(
    first: Callable[[Compressor], Recipe], second: Callable[[Compressor], Recipe]
) -> Callable[[Compressor], Recipe]:
    """Channels and blocks of the first, precisions of the second."""

    def recipe(compressor: Compressor) -> Recipe:
        shape, precision = first(compressor), second(compressor).precision
        gone = {
            layer for block in compressor.network.blocks if block.name in shape.skip for layer in block.layers
        }
        return Recipe(
            keep=shape.keep, skip=shape.skip, precision={n: p for n, p in precision.items() if n not in gone}
        )

    return recipe


DEEP = (
    "layer1.2",
    "layer1.5",
    "layer1.8",
    "layer2.5",
    "layer2.6",
    "layer2.7",
)  # the least missed of ResNet-56, stitched
HALF = pruned(0.5, multiple=2)
SHALLOW = pruned(
    0.5, multiple=4, skip=("layer1.1", "layer2.1")
)  # as accurate before training, and its steps are faster
ROWS = (
    Row(name="float32", model="resnet20", recipe=whole, target="91.73 %"),
    Row(name="int8", model="resnet20", recipe=uniform("int8"), target="≥ 91.6 %, ≤ 302 KB"),
    Row(name="4 bits", model="resnet20", recipe=uniform("int4"), target="≥ 90.5 %, ≤ 168 KB"),
    Row(
        name="4 bits, 4 min", model="resnet20", recipe=uniform("int4"), minutes=4, target="≥ 91.5 %, ≤ 168 KB"
    ),
    Row(name="3 bits", model="resnet20", recipe=uniform("int3"), target=""),
    Row(
        name="3 bits, 6 min", model="resnet20", recipe=uniform("int3"), minutes=6, target="≥ 91.0 %, ≤ 140 KB"
    ),
    Row(name="2 bits", model="resnet20", recipe=uniform("int2"), target=""),
    Row(
        name="2 bits, 8 min", model="resnet20", recipe=uniform("int2"), minutes=8, target="≥ 89.5 %, ≤ 100 KB"
    ),
    Row(name="half of the MACs", model="resnet20", recipe=HALF, target="≥ 80 %"),
    Row(name="half of the MACs, 12 min", model="resnet20", recipe=HALF, minutes=12, target="≥ 91.0 %"),
    Row(name="half, two blocks less", model="resnet20", recipe=SHALLOW, target="≥ 80 %"),
    Row(
        name="half, two blocks less, 20 min", model="resnet20", recipe=SHALLOW, minutes=20, target="≥ 91.0 %"
    ),
    Row(name="float32", model="resnet56", recipe=whole, target="93.39 %"),
    Row(name="2.5× fewer MACs", model="resnet56", recipe=pruned(0.4, multiple=8, skip=DEEP), target=""),
    Row(
        name="2.5× fewer MACs, 55 min",
        model="resnet56",
        recipe=pruned(0.4, multiple=8, skip=DEEP),
        minutes=55,
        target="≥ 92.9 %",
    ),
    Row(name="float32", model="resnet8", recipe=whole, target="87.19 %"),
    Row(name="int8", model="resnet8", recipe=uniform("int8"), target="≥ 87.0 %, ≤ 100 KB"),
    Row(name="3 bits, 3 min", model="resnet8", recipe=uniform("int3"), minutes=3, target="≥ 85 %, ≤ 55 KB"),
    Row(name="2 bits, 3 min", model="resnet8", recipe=uniform("int2"), minutes=3, target="≥ 85 %, ≤ 55 KB"),
)


class Bench:
    """The models, one compressor each, and what was found so far."""

    def __init__(self, data: Path, work: Path):
        self.data, self.work = data, work
        self.found = _read()
        self._compressors: dict[str, Compressor] = {}
        for folder in ("artifacts", "cache", "inputs"):
            (work / folder).mkdir(parents=True, exist_ok=True)

    def compressor(self, model: str) -> Compressor:
        """The compressor of a model."""
        if model not in self._compressors:
            task = load_task(f"{ROOT / 'examples' / 'cifar10.py'}:{model}", {"data": str(self.data)})
            network = Network.trace(task.model, task.example_inputs)
            made = Compressor(task, network, cache_dir=self.work / "cache", levels_dir=self.work / "levels")
            self._compressors[model] = made
        return self._compressors[model]

    def build(self, row: Row) -> Found:
        """The row's artifact and its accuracies; training goes on where it was killed."""
        compressor = self.compressor(row.model)
        recipe = row.recipe(compressor)
        if row.minutes:
            recipe = Recipe(keep=recipe.keep, precision=recipe.precision, skip=recipe.skip, recovery=RECOVERY)
        built = compressor.build(
            recipe,
            self.work / "artifacts",
            progress=_Every(60, f"{row.model}, {row.name}"),
            recovery_s=60 * row.minutes or None,
            checkpoint=self.work / f"{recipe.digest}.ckpt" if row.minutes else None,
        )
        artifact = built.only.artifact
        target = Target(load_profile("cpu"))
        with target.session() as session:
            splits = {name: self._split(row.model, name) for name in ("validation", "test")}
            ran = {
                name: joined([outputs for outputs, _ in split.answered(session, artifact.path, batch=250)])
                for name, split in splits.items()
            }
        accuracy = {
            name: 100 * score(compressor.task.metric, ran[name], splits[name].targets) for name in splits
        }
        return Found(
            name=row.name,
            model=row.model,
            target=row.target,
            file=artifact.path.name,
            size_bytes=artifact.size_bytes,
            macs=artifact.macs / compressor.network.macs,
            seconds=built.seconds,
            validation=accuracy["validation"],
            test=accuracy["test"],
        )

    def _split(self, model: str, name: str) -> StoredSplit:
        return StoredSplit(
            getattr(self.compressor(model).task, name), self.work / "inputs" / f"{model}-{name}"
        )

    def measure(self, chosen: Iterable[Row]) -> None:
        """Latency ratios of the chosen rows that have none, one after the other."""
        target = Target(load_profile("cpu"))
        for row in chosen:
            item, original = self.found[row.model, row.name], self.found[row.model, "float32"]
            with target.session() as session:
                model, baseline = (self.work / "artifacts" / found.file for found in (item, original))
                measured = session.measure(model, baseline, FINALIST_TIMING)
            self.keep(_found({**asdict(item), "ratio": measured.ratio, "interval": measured.ratio_interval}))

    def keep(self, item: Found) -> None:
        """Notes what was found, on disk at once; another process may have added rows meanwhile."""
        self.found = {**_read(), _key(item): item}
        write_text(RESULTS, json.dumps([asdict(known) for known in self.found.values()], indent=1) + "\n")


def _read() -> dict[tuple[str, str], Found]:
    return (
        {_key(item): item for item in map(_found, json.loads(RESULTS.read_text()))}
        if RESULTS.is_file()
        else {}
    )


def _found(value: Mapping[str, Any]) -> Found:
    interval = value["interval"]
    return Found(**{**value, "interval": None if interval is None else (interval[0], interval[1])})


def _key(item: Row | Found) -> tuple[str, str]:
    return item.model, item.name


class _Every:
    """Prints a message at most once in `seconds`."""

    def __init__(self, seconds: float, label: str):
        self.seconds, self.label, self.at = seconds, label, 0.0

    def __call__(self, message: str) -> None:
        if time.monotonic() - self.at > self.seconds:
            print(f"  {self.label}: {message}", flush=True)
            self.at = time.monotonic()


def table(found: Iterable[Found]) -> str:
    """The rows as text."""
    lines = [
        f"{'model':9} {'candidate':26} {'validation':>10} {'test':>7} {'all':>7} {'KB':>8} {'MACs':>5} {'latency':>20}  target"
    ]
    for item in found:
        ratio = (
            ""
            if item.ratio is None or item.interval is None
            else f"{item.ratio:.3f} ({item.interval[0]:.3f}..{item.interval[1]:.3f})"
        )
        lines.append(
            f"{item.model:9} {item.name:26} {item.validation:10.2f} {item.test:7.2f} {item.all_images:7.2f} "
            f"{item.size_bytes / 1024:8.1f} {item.macs:5.2f} {ratio:>20}  {item.target}"
        )
    return "\n".join(lines)


def stitching(bench: Bench) -> str:
    """Median time to stitch a ResNet-56 candidate from the database (targets ≤ 50 ms), to build it, and the
    peak memory.
    """
    compressor = bench.compressor("resnet56")
    network = compressor.network
    recipe = both(pruned(0.6, multiple=8), uniform("int4"))(compressor)
    bits = {name: 4 for name, precision in recipe.precision.items() if precision == "int4"}
    removed = removed_units(
        network.group_by_name, recipe.keep, compressor.students.structure.scores(recipe.keep)
    )
    times = []
    for _ in range(6):
        module = prune(network.module, network.channels, removed)
        start = time.perf_counter()
        stitch(module, compressor.students.database, removed, bits)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    built = compressor.build(recipe, bench.work / "artifacts")
    build_s = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in built.seconds.items())
    return (
        f"ResNet-56, pruned to 60 % and 4 bits: stitching {statistics.median(times[1:]) * 1e3:.0f} ms "
        f"(the first time {times[0] * 1e3:.0f}; target ≤ 50), building {build_s:.1f} s ({stages}), "
        f"peak memory {peak:.2f} GB with the data (target ≤ 1.5); "
        f"the database has {compressor.students.database.size_bytes / 2**20:.0f} MB"
    )


def small_models(work: Path) -> str:
    """A transformer and a depthwise network of the tests' table: int8 and pruned, built, checked against
    torch, measured.
    """
    from autocompress.tests.compress.tasks import tiny_task

    target, lines = Target(load_profile("cpu")), []
    for name in ("encoder", "inverted_residual"):
        task = tiny_task(name)
        network = Network.trace(task.model, task.example_inputs)
        compressor = Compressor(task, network, levels_dir=work / "levels")
        int8: dict[str, Precision] = {
            layer.name: "int8" for layer in network.layers if not layer.float_only and layer.uses == 1
        }
        half = {group.name: max(1, group.channels // 2) for group in network.groups}
        original = compressor.build(Recipe(), work / "artifacts").only.artifact.path
        for label, recipe in (
            ("int8", Recipe(precision=int8)),
            ("half", Recipe(keep=half)),
            ("half int8", Recipe(keep=half, precision=int8)),
        ):
            built = compressor.build(recipe, work / "artifacts").only
            inputs = StoredSplit(task.validation, work / "inputs" / name)
            with target.session() as session:
                outputs = session.run(built.artifact.path, inputs.inputs, batch=64)
                ratio = session.measure(built.artifact.path, original).ratio
            check_outputs(
                [x[: len(built.check.expected[0])] for x in _on_check(target, built, work)], built.check
            )
            lines.append(
                f"{name}, {label}: matches torch, latency {ratio:.2f} of float32 ({len(outputs[0])} samples ran)"
            )
    return "\n".join(lines)


def _on_check(target: Target, built: Any, work: Path) -> Any:
    import numpy as np

    path = work / "inputs" / "check.npz"
    np.savez(
        path, allow_pickle=False, **{str(index): array for index, array in enumerate(built.check.inputs)}
    )
    with target.session() as session:
        return session.run(built.artifact.path, path, batch=len(built.check.inputs[0]))


def main() -> None:
    """Makes the chosen rows that are missing, measures them together and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "compression")
    parser.add_argument(
        "--rows", default="", help="regular expression on 'model, candidate', such as 'resnet20, 4 bits'"
    )
    parser.add_argument("--again", action="store_true", help="make the chosen rows again")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--no-latency", action="store_true", help="leave the measuring to a later call")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.data, arguments.work)
    chosen = [row for row in ROWS if re.search(arguments.rows, f"{row.model}, {row.name}")]
    for row in chosen:
        if arguments.again or _key(row) not in bench.found:
            print(f"{row.model}, {row.name}", flush=True)
            bench.keep(bench.build(row))
    if not arguments.no_latency:
        bench.measure(chosen)
    print(table(bench.found[_key(row)] for row in chosen))
    if not arguments.rows:
        print(stitching(bench))
        print(small_models(arguments.work))


if __name__ == "__main__":
    main()
