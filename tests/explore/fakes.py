"""Stand-ins for a network and an evaluator, so that the search is tested without building or measuring
anything.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
from autocompress.compress.compressor import BuildResult
from autocompress.compress.graph.channels import Exclusion, Group, Unit
from autocompress.compress.graph.layers import Layer
from autocompress.compress.graph.network import Cost, LayerCost, Network
from autocompress.compress.graph.rest import Remainder
from autocompress.compress.options import Int8Weights
from autocompress.compress.recipe import Precision, Recipe
from autocompress.evaluation.availability import Availability, Patience
from autocompress.evaluation.bench import Progress
from autocompress.evaluation.catching_up import CatchingUp
from autocompress.evaluation.evaluate import Evaluator
from autocompress.explore.finalists import Finalists
from autocompress.explore.latency.fixed import FixedLatencies
from autocompress.explore.looks import Look, LookKey
from autocompress.explore.queue import Queue
from autocompress.explore.replay import ReplayedStudy
from autocompress.explore.run_writer import RunWriter
from autocompress.explore.screen import Screen
from autocompress.explore.search import Search, Strategy
from autocompress.explore.sequential import Sequential
from autocompress.explore.session.budget import Budget, Ledger
from autocompress.explore.session.clock import Clock
from autocompress.explore.session.interrupt import Interrupts
from autocompress.explore.session.memory import MemoryPeak
from autocompress.explore.session.progress import QuietProgress
from autocompress.explore.space.space import SearchSpace
from autocompress.explore.state import SearchState
from autocompress.explore.study import SearchStudy
from autocompress.explore.trials import Options, Trials
from autocompress.profiles import Profile
from autocompress.results.limits import Constraints
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import ArtifactFacts, Failure, Outcome, Point
from autocompress.results.run_directory import RunConfig, RunDirectory, read_front
from autocompress.tasks.task import Metric
from autocompress.tests.results.records import TARGET, measured, point, run_facts

PROFILE = Profile(name=TARGET, description="", runtime="onnxruntime", threads=1)
METRIC = Metric(name="accuracy", function=lambda outputs, targets: 0.0)
CONFIG = RunConfig(
    identity={"task": "fake", "model": "m", "data": "d"}, options={"seed": 0, "budget_s": None}
)


class FakeNetwork(Network):
    """A chain of convolutions; layer i produces group i. The last layer's channels are the model's output.

    No model is traced: `module` and `channels` are missing.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 32, 10), *, int8_weights: Int8Weights = "int8"):
        self.widths, self.blocks, self.rest, self.int8_weights = channels, (), (), int8_weights
        self.fusable, self.attention_readers, self.resolutions, self.used_rows = False, (), (), {}
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
        self.rest: tuple[Remainder, ...] = ()
        self.excluded = (Exclusion(name=self.layers[-1].name, reason="it is the model's output"),)

    def stored_as(self, int8_weights: Int8Weights) -> "FakeNetwork":
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
        targets: tuple[str, ...] = (PROFILE.name,),
    ):
        self.network = network
        self.delay_s = delay_s
        self.failing = failing
        self.log = log
        self.evaluated: list[str] = []
        self.targets = tuple(
            SimpleNamespace(profile=SimpleNamespace(name=name), environment=None) for name in targets
        )
        self.availability, self.patience = Availability(), Patience(limit_s=0.0)
        self.bench = self

    def evaluate(
        self,
        trial: int,
        recipe: Recipe,
        *,
        baseline: Point | None,
        progress: Progress,
        built: BuildResult | None = None,
    ) -> Point | Failure:
        self.evaluated.append(recipe.digest)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"start {trial} {recipe.digest}\n")
        progress("working")
        time.sleep(self.delay_s)
        if (failure := self.failing(recipe)) is not None:
            return failure
        return point(
            trial,
            recipe,
            outcomes={
                target.profile.name: self.outcome(target.profile.name, trial, recipe)
                for target in self.targets
            },
            seconds={"build": 0.1, "recover": 0.01 * recipe.recovery.steps if recipe.recovery else 0.0},
        )

    def outcome(self, target: str, trial: int, recipe: Recipe) -> Outcome:
        """What a candidate is on a target."""
        cost, original = self.network.cost(recipe), self.network.cost(Recipe())
        lost = 1 - cost.macs / original.macs
        recovered = 0.3 if recipe.recovery else 1.0
        drop = 0.1 * lost**2 * recovered + 0.0005 * len(recipe.precision) if trial else 0.0
        speed = np.mean([0.5 if layer.precision == "int8" else 1.0 for layer in cost.layers])
        ratio = float((0.1 + 0.9 * cost.macs / original.macs) * speed)
        return measured(recipe, drop=drop, ratio=ratio, size=cost.weight_bytes + 1000)

    def artifact_path(self, recipe: Recipe, artifact: ArtifactFacts) -> Path:
        return Path(artifact.file)


class FakeFinalists(Finalists):
    """Finalists that confirm what was measured."""

    def __init__(self) -> None:
        self.looks: dict[LookKey, Look] = {}
        self.failures: list[Failure] = []

    def look_at(
        self,
        points: Iterable[Point],
        *,
        baseline: Point,
        progress: Progress,
        time_left: Callable[[], bool],
    ) -> bool:
        looked = False
        for item in points:
            for name, measured_there in item.measured.items():
                key, latency = (measured_there.artifact.digest, name), measured_there.latency
                if key not in self.looks:
                    assert isinstance(latency, Latency)
                    self.looks[key] = Look(test=0.9, test_interval=(0.88, 0.92), latency=latency)
                    looked = True
        return looked

    def look_again(
        self,
        points: Sequence[Point],
        *,
        baseline: Point,
        progress: Progress,
        time_left: Callable[[], bool],
    ) -> bool:
        return False


class FakeCatchingUp(CatchingUp):
    """Catches up on nothing."""

    def __init__(self) -> None:
        pass

    def restored(self, point: Point) -> Point:
        return point

    def catch_up(self, points: list[Point], *, progress: Progress, time_left: Callable[[], bool]) -> None:
        pass


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
    catching_up: FakeCatchingUp | None = None,
    deterministic: bool = False,
    racing: bool = False,
    profile: Profile = PROFILE,
    alternatives: bool = False,
) -> Search:
    """A search over the evaluator's network in an open run directory; the limits hold on every target.
    `alternatives`: they are runtimes of one device.
    """
    limits = constraints or Constraints()
    by_target = {target.profile.name: limits for target in evaluator.targets}
    space = SearchSpace.of(evaluator.network, profile, recovery=recovery)
    evaluating = cast(Evaluator, evaluator)
    clock, finalists, interrupts = Clock(directory.elapsed), FakeFinalists(), Interrupts()
    kind = ReplayedStudy if deterministic else SearchStudy
    study = kind.open(directory.study, sampler=sampler, seed=seed)
    fixed = FixedLatencies.of([profile], evaluator.network, space, batch=1)
    state = SearchState(
        facts=replace(run_facts(by_target), alternatives=alternatives),
        uniform_digest=space.uniform_int8().digest,
        looks=finalists.looks,
        judge=fixed.judged if deterministic else None,
    )
    latencies_s: dict[str, float] = {}
    if limits.max_latency_s is not None and not deterministic:
        latencies_s = dict.fromkeys(by_target, limits.max_latency_s)
    sizes: dict[Int8Weights, int] = {}
    if limits.max_size_bytes is not None:
        sizes["int8"] = limits.max_size_bytes
    ledger, progress = Ledger.open(directory, clock), QuietProgress()
    made = Trials(
        space=space,
        study=study,
        state=state,
        evaluator=evaluating,
        screen=Screen(network=evaluator.network, latencies_s=latencies_s, sizes=sizes),
        queue=Queue(state, study, catching_up or FakeCatchingUp(), progress=progress, interrupts=interrupts),
        directory=directory,
        writer=RunWriter(
            directory,
            state,
            evaluator=evaluating,
            finalists=finalists,
            clock=clock,
            ledger=ledger,
            memory=MemoryPeak(),
        ),
        clock=clock,
        options=Options(budget_s=budget_s, trials=trials, deterministic=deterministic, racing=racing),
        budget=Budget(total_s=budget_s, recovery=recovery),
        ledger=ledger,
        progress=progress,
        interrupts=interrupts,
    )
    return Search(trials=made, strategy=strategy or Sequential(), finalists=finalists)


def run_search(path: Path, evaluator: FakeEvaluator, **options) -> SimpleNamespace:
    """Opens the directory, searches, and returns `status`, `run` (that of front.json) and the `search`."""
    with RunDirectory.open(path, CONFIG) as directory:
        search = make_search(directory, evaluator, **options)
        status = search.run()
        return SimpleNamespace(status=status, run=read_front(directory.path), search=search)
