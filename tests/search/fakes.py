"""Stand-ins for a network and an evaluator, so that the search is tested without building or measuring
anything.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from autocompress.compress.graph.channels import Exclusion, Group, Unit
from autocompress.compress.graph.layers import Layer
from autocompress.compress.graph.network import Cost, LayerCost
from autocompress.compress.recipe import Precision, Recipe
from autocompress.profiles import Profile
from autocompress.results.evaluation import ArtifactFacts, Evaluation, Failure, Latency
from autocompress.results.limits import Constraints
from autocompress.results.run_directory import RunConfig, RunDirectory
from autocompress.search.evaluation.availability import Availability, Patience
from autocompress.search.finalists import Finalist
from autocompress.search.result import Result
from autocompress.search.screen import Screen
from autocompress.search.search import Options, Search, Strategy
from autocompress.search.sequential import Sequential
from autocompress.search.session.budget import Budget, Ledger
from autocompress.search.session.clock import Clock
from autocompress.search.session.progress import QuietProgress
from autocompress.search.space.space import SearchSpace
from autocompress.search.study import SearchStudy
from autocompress.tasks.task import Metric

PROFILE = Profile(name="fake", description="", runtime="onnxruntime", threads=1)
METRIC = Metric(name="accuracy", function=lambda outputs, targets: 0.0)
CONFIG = RunConfig(
    identity={"task": "fake", "model": "m", "data": "d"}, options={"seed": 0, "budget_s": None}
)


class FakeNetwork:
    """A chain of convolutions; layer i produces group i. The last layer's channels are the model's output."""

    def __init__(self, channels: tuple[int, ...] = (16, 32, 32, 10), *, int8_weights: str = "int8"):
        self.widths, self.blocks, self.int8_weights = channels, (), int8_weights
        inputs = (3, *channels[:-1])
        self.layers = tuple(
            Layer(
                name=f"layer{index}",
                kind="conv",
                weight=f"layer{index}.weight",
                bias=None,
                weight_shape=(out, into, 3, 3),
                channels_in=into,
                channels_out=out,
                macs=out * into * 9 * 64,
                parameters=out * into * 9,
                uses=1,
            )
            for index, (into, out) in enumerate(zip(inputs, channels, strict=True))
        )
        self.groups = tuple(
            Group(
                name=layer.name,
                layers=(layer.name,),
                units=tuple(Unit(number=n, indices={}) for n in range(layer.channels_out)),
            )
            for layer in self.layers[:-1]
        )
        self.excluded = (Exclusion(name=self.layers[-1].name, reason="it is the model's output"),)

    def stored_as(self, int8_weights: str) -> "FakeNetwork":
        return FakeNetwork(self.widths, int8_weights=int8_weights)

    def cost(self, recipe: Recipe) -> Cost:
        widths = [recipe.keep.get(layer.name, layer.channels_out) for layer in self.layers]
        layers = tuple(
            self.layer_cost(
                layer, out=out, into=into, precision=recipe.precision.get(layer.name, "float32"), rank=None
            )
            for layer, into, out in zip(self.layers, [3, *widths[:-1]], widths, strict=True)
        )
        return Cost(
            macs=sum(layer.macs for layer in layers),
            parameters=sum(layer.parameters for layer in layers),
            weight_bytes=sum(layer.bytes for layer in layers),
            layers=layers,
        )

    def layer_cost(
        self, layer: Layer, *, out: int, into: int, precision: Precision, rank: int | None
    ) -> LayerCost:
        weights, bits = into * out * 9, 8 if precision == "int8" and self.int8_weights == "int8" else 32
        return LayerCost(
            name=layer.name,
            kind="conv",
            channels_in=into,
            channels_out=out,
            macs=weights * 64,
            parameters=weights,
            bytes=weights * bits // 8 + (4 * out if precision == "int8" else 0),
            bits=bits,
            precision=precision,
        )

    def groups_along(self, layer: Layer, dim: int) -> dict[str, int]:
        at = self.layers.index(layer) - dim
        return {self.groups[at].name: 1} if 0 <= at < len(self.groups) else {}


def latency(ratio: float, *, half_width: float = 0.005) -> Latency:
    """A latency of `ratio` milliseconds."""
    low, high = ratio * (1 - half_width), ratio * (1 + half_width)
    return Latency(
        latency_s=ratio * 1e-3,
        interval_s=(low * 1e-3, high * 1e-3),
        ratio=ratio,
        ratio_interval=(low, high),
        p50_s=ratio * 1e-3,
        p90_s=ratio * 1e-3,
        p99_s=ratio * 1e-3,
        noisy=False,
        timer="thread-cpu",
        pairs=3,
        peak_memory_bytes=None,
    )


def evaluation(
    trial: int = 0,
    recipe: Recipe | None = None,
    *,
    drop: float = 0.0,
    ratio: float = 1.0,
    size: int = 100_000,
    seconds: Mapping[str, float] | None = None,
) -> Evaluation:
    """A measured candidate with these numbers."""
    recipe = recipe or Recipe(keep={"layer0": trial + 1}) if trial else Recipe()
    return Evaluation(
        trial=trial,
        recipe=recipe,
        artifact=ArtifactFacts(
            file=f"artifacts/{recipe.digest}.onnx",
            digest=recipe.digest,
            size_bytes=size,
            macs=1,
            parameters=1,
        ),
        validation=0.9 - drop,
        validation_interval=(0.89 - drop, 0.91 - drop),
        drop=drop,
        latency=latency(ratio),
        layers=(),
        elapsed_s=float(trial),
        seconds=seconds or {"build": 0.1},
    )


class FakeEvaluator:
    """Evaluates a recipe by its cost at once; `delay_s` makes it slow, `failing` fails it. Counts what it
    evaluated.
    """

    def __init__(
        self,
        network: FakeNetwork,
        *,
        delay_s: float = 0.0,
        failing: Callable[[Recipe], Failure | None] = lambda recipe: None,
        log: Path | None = None,
    ):
        self.network = network
        self.delay_s = delay_s
        self.failing = failing
        self.log = log
        self.evaluated: list[str] = []
        self.availability, self.patience = Availability(), Patience(limit_s=0.0)

    def evaluate(
        self,
        trial: int,
        recipe: Recipe,
        *,
        baseline: Evaluation | None,
        progress: Callable[[str], None],
        built=None,
    ):
        self.evaluated.append(recipe.digest)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"start {trial} {recipe.digest}\n")
        progress("working")
        time.sleep(self.delay_s)
        if (failure := self.failing(recipe)) is not None:
            return failure
        cost, original = self.network.cost(recipe), self.network.cost(Recipe())
        lost = 1 - cost.macs / original.macs
        drop = (
            0.0
            if baseline is None
            else 0.1 * lost**2 * (0.3 if recipe.recovery else 1.0) + 0.0005 * len(recipe.precision)
        )
        speed = np.mean([0.5 if layer.precision == "int8" else 1.0 for layer in cost.layers])
        return evaluation(
            trial,
            recipe,
            drop=drop,
            ratio=float((0.1 + 0.9 * cost.macs / original.macs) * speed),
            size=cost.weight_bytes + 1000,
            seconds={"build": 0.1, "recover": 0.01 * recipe.recovery.steps if recipe.recovery else 0.0},
        )

    def artifact_path(self, evaluation: Evaluation) -> Path:
        return Path(evaluation.artifact.file)


class FakeFinalists:
    """Finalists that confirm what was measured."""

    def __init__(self) -> None:
        self.known: dict[str, Finalist] = {}
        self.failures: list[Failure] = []

    def restored(self, evaluation: Evaluation) -> Evaluation:
        return evaluation

    def catch_up(self, evaluations, *, progress, time_left) -> None:
        pass

    def look_at(self, evaluations, *, baseline, progress, time_left) -> bool:
        new = [item for item in evaluations if item.artifact.digest not in self.known]
        for item in new:
            self.known[item.artifact.digest] = Finalist(
                test=0.9, test_interval=(0.88, 0.92), latency=item.latency
            )
        return bool(new)


def make_search(
    directory: RunDirectory,
    evaluator: FakeEvaluator,
    *,
    trials: int | None = 8,
    budget_s: float | None = None,
    constraints: Constraints | None = None,
    sampler: str = "random",
    seed: int = 0,
    recovery: bool = True,
    strategy: Strategy | None = None,
    further: Mapping[str, Constraints] | None = None,
) -> Search:
    """A search over the evaluator's network in an open run directory."""
    constraints = constraints or Constraints()
    space = SearchSpace.of(evaluator.network, PROFILE, recovery=recovery)
    clock = Clock(directory.elapsed)
    finalists = FakeFinalists()
    return Search(
        space=space,
        study=SearchStudy.open(directory.study, sampler=sampler, seed=seed),
        evaluator=evaluator,
        screen=Screen(
            network=evaluator.network,
            latency_s=constraints.max_latency_s,
            sizes={} if constraints.max_size_bytes is None else {"int8": constraints.max_size_bytes},
        ),
        result=Result(
            metric=METRIC,
            constraints=constraints,
            uniform_digest=space.uniform_int8().digest,
            evaluations=[],
            known={},
            target=PROFILE.name,
            further=further or {},
        ),
        finalists=finalists,
        directory=directory,
        clock=clock,
        options=Options(budget_s=budget_s, trials=trials),
        progress=QuietProgress(),
        facts={
            "task": {
                "name": "fake",
                "metric": {"name": METRIC.name, "direction": METRIC.direction, "unit": METRIC.unit},
            },
            "constraints": constraints.to_json(0.9),
        },
        strategy=strategy or Sequential(),
        budget=Budget(total_s=budget_s, recovery=recovery),
        ledger=Ledger.open(directory, clock),
    )


def run_search(path: Path, evaluator: FakeEvaluator, **options) -> SimpleNamespace:
    """Opens the directory, searches, and returns `status`, `run` (front.json) and the `search`."""
    with RunDirectory.open(path, CONFIG) as directory:
        search = make_search(directory, evaluator, **options)
        status = search.run()
        return SimpleNamespace(status=status, run=directory.read_json("front.json"), search=search)
