"""Points and runs of given numbers, for tests of whoever judges or shows them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autocompress.compress.recipe import Recipe
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import MetricFacts, RunFacts, RunTarget, TaskFacts
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import (
    ArtifactFacts,
    Failure,
    Measured,
    Missing,
    Outcome,
    Point,
    Quality,
)
from autocompress.results.records.reading import Interval
from autocompress.results.records.run import Run

TARGET = "fake"
ACCURACY = MetricFacts(name="accuracy", direction="higher", unit="fraction")


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


def measured(
    recipe: Recipe,
    *,
    drop: float = 0.0,
    drop_interval: Interval | None = None,
    ratio: float = 1.0,
    size: int = 100_000,
) -> Measured:
    """A candidate on a target with these numbers."""
    artifact = ArtifactFacts(
        file=f"artifacts/{recipe.digest}.onnx", digest=recipe.digest, size_bytes=size, macs=1, parameters=1
    )
    quality = Quality(validation=0.9 - drop, interval=(0.89 - drop, 0.91 - drop))
    return Measured(
        artifact=artifact, quality=quality, drop=drop, drop_interval=drop_interval, latency=latency(ratio)
    )


def point(
    trial: int = 0,
    recipe: Recipe | None = None,
    *,
    seconds: Mapping[str, float] | None = None,
    outcomes: Mapping[str, Outcome] | None = None,
    drop: float = 0.0,
    drop_interval: Interval | None = None,
    ratio: float = 1.0,
    size: int = 100_000,
) -> Point:
    """A candidate with these numbers on `fake`, or with these outcomes."""
    if recipe is None:
        recipe = Recipe(keep={"layer0": trial + 1}) if trial else Recipe()
    there = measured(recipe, drop=drop, drop_interval=drop_interval, ratio=ratio, size=size)
    return Point(
        trial=trial,
        recipe=recipe,
        outcomes=outcomes or {TARGET: there},
        elapsed_s=float(trial),
        seconds=seconds or {"build": 0.1},
    )


def run_facts(
    constraints: Mapping[str, Constraints] | None = None, *, metric: MetricFacts = ACCURACY
) -> RunFacts:
    """A run on the targets of these limits; on `fake` alone without them."""
    constraints = constraints or {TARGET: Constraints()}
    task = TaskFacts(
        name="fake",
        metric=metric,
        spec="fake.py:make",
        arguments={},
        digest="0" * 64,
        preprocessing={},
    )
    targets = tuple(
        RunTarget(
            name=name,
            profile_fingerprint="0" * 64,
            threads=1,
            runtime="onnxruntime",
            runtime_options={},
            batch=1,
            constraints=limits,
        )
        for name, limits in constraints.items()
    )
    return RunFacts(task=task, targets=targets, command="search", sampler="random", seed=0)


def run_of(
    *points: Point,
    constraints: Mapping[str, Constraints] | None = None,
    metric: MetricFacts = ACCURACY,
    **options: Any,
) -> Run:
    """A run of these points, the original first, within these limits by target."""
    return Run(facts=run_facts(constraints, metric=metric), points=points, **options)


def on_two(
    trial: int = 0,
    recipe: Recipe | None = None,
    *,
    ratio: float = 1.0,
    edge: float | None = 1.0,
    drop: float = 0.0,
    size: int = 100_000,
) -> Point:
    """A candidate on `cpu` and `edge` with these latency ratios; None is a missing one."""
    on_cpu = point(trial, recipe, ratio=ratio, drop=drop, size=size)
    there = on_cpu.measured[TARGET]
    failure = Failure(trial=trial, stage="measure", kind="noisy", message="restless", retryable=True)
    on_edge: Outcome = Missing(artifact=there.artifact, failure=failure)
    if edge is not None:
        on_edge = replace(there, latency=latency(edge))
    return replace(on_cpu, outcomes={"cpu": there, "edge": on_edge})
