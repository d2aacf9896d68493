"""A realistic Run without a search: a ResNet-20 on CIFAR-10, about 25 points, two failures.

Shapes, MACs and sizes follow from the recipes; accuracies and latencies come from a smooth made-up model plus
noise.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from autocompress.compress.recipe import Recipe, Recovery
from autocompress.profiles import Environment
from autocompress.profiles.units import parse_drop
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import (
    ExclusionFacts,
    GroupFacts,
    LayerFacts,
    MetricFacts,
    RunFacts,
    RunTarget,
    TaskFacts,
)
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import (
    ArtifactFacts,
    Failure,
    LayerRow,
    Measured,
    Missing,
    Point,
    Quality,
)
from autocompress.results.records.progress import Rungs, SearchFacts, SlotSensitivity, TableError
from autocompress.results.records.run import Run
from autocompress.results.view import RunOn

STAGES = ((16, 32), (32, 16), (64, 8))  # channels, height and width of the feature map
BASELINE_LATENCY_S = 1.241e-3
BASELINE_ACCURACY = 0.9172
CLASSES = 10
UNCHANGED = Recipe()
TIME = {
    **{"sensitivity": 41.0, "latency table": 63.5, "reconstruct": 58.2, "recover": 612.4, "validate": 187.9},
    **{"timing loop": 151.3, "r0": 12.0, "build": 21.8, "finalists": 24.1},
}


def sample_run(seed: int = 2, *, candidates: int = 24, max_drop: str | None = "1pp") -> Run:
    """A finished run with `candidates` points besides the original model (trial 0) and uniform int8 (trial
    1).
    """
    draw = random.Random(seed)
    original = point(0, _recipe(draw, keep=False, int8=0.0))
    uniform = point(1, _recipe(draw, keep=False, int8=1.0))
    trials = [number for number in range(2, candidates + 4) if number not in (7, 15)]
    points = [original, uniform, *(point(number, _recipe(draw), seed=seed) for number in trials)]
    run = Run(
        facts=_facts(max_drop),
        points=tuple(points),
        uniform_trial=1,
        status="finished",
        elapsed_s=1187.4,
        screened=5,
        failures=_failures(),
        search=SearchFacts(
            sensitivity=sensitivity(),
            latency_tables={"cpu": TableError(count=len(points), kendall_tau=0.94, median_error=0.021)},
            rungs=Rungs(counts={"r0": 400, "r1": 26, "r2": 9}, correlation={"r0-r1": 0.83, "r1-r2": 0.91}),
            time=TIME,
        ),
    )
    front = sorted(member.trial for member in run.front)
    for trial in dict.fromkeys([0, 1, *front]):
        run = with_measured(run, trial, **_profiled(run.point(trial).measured["cpu"]))
    for trial in front:
        quality = run.point(trial).measured["cpu"].quality
        accuracy = quality.validation - draw.uniform(0.0, 0.004)
        tested = replace(quality, test=round(accuracy, 4), test_interval=_accuracy_interval(accuracy))
        if trial:
            loss = round(BASELINE_ACCURACY - accuracy, 4)
            tested = replace(tested, test_drop=loss, test_drop_interval=_drop_interval(loss))
        run = with_measured(run, trial, quality=tested)
    return run


def sample_view(**options: Any) -> RunOn:
    """The same as its only target sees it."""
    return RunOn.of(sample_run(**options), "cpu")


def sample_run_of_two(*, max_latency_s: float | None = None, missing: int | None = None) -> Run:
    """The sample run on `cpu` and `edge`, which is slower and gains less; `missing` is a trial without a
    latency on `edge`.
    """
    run = sample_run()
    (target,) = run.facts.targets
    constraints = replace(target.constraints, max_latency_s=max_latency_s)
    targets = tuple(
        replace(target, name=name, constraints=constraints, environment=replace(environment(), machine=name))
        for name in ("cpu", "edge")
    )
    points = []
    for one in run.points:
        measured = one.measured["cpu"]
        failure = Failure(trial=one.trial, stage="measure", kind="noisy", message="restless", retryable=True)
        away = Missing(artifact=measured.artifact, failure=failure)
        slower = replace(measured, latency=_on_edge(measured.latency))
        edge = away if one.trial == missing else slower
        points.append(replace(one, outcomes={"cpu": measured, "edge": edge}))
    return replace(run, facts=replace(run.facts, targets=targets), points=tuple(points))


def with_measured(run: Run, trial: int, **changes: Any) -> Run:
    """The run with a point that was measured otherwise, on every target that has it.

    The interval of the drop belongs to its drop.
    """
    if "drop" in changes:
        changes.setdefault("drop_interval", None)

    def changed(one: Point) -> Point:
        outcomes = {name: replace(item, **changes) for name, item in one.measured.items()}
        return replace(one, outcomes={**one.outcomes, **outcomes}) if one.trial == trial else one

    return replace(run, points=tuple(changed(one) for one in run.points))


def with_latency(run: Run, trial: int, **changes: Any) -> Run:
    """The run with a point of another latency."""
    measured = next(iter(run.point(trial).measured.values()))
    return with_measured(run, trial, latency=replace(measured.latency, **changes))


def with_layer(run: Run, trial: int, index: int, **changes: Any) -> Run:
    """The run with a point of which a layer is otherwise."""
    layers = list(next(iter(run.point(trial).measured.values())).layers)
    layers[index] = replace(layers[index], **changes)
    return with_measured(run, trial, layers=tuple(layers))


def with_points(run: Run, points: Iterable[Point], *, uniform_trial: int | None = None) -> Run:
    """The run with these points alone, the original first."""
    return replace(run, points=tuple(points), uniform_trial=uniform_trial)


def with_constraints(run: Run, constraints: Constraints) -> Run:
    """The run of a search with these limits on every target."""
    targets = tuple(replace(target, constraints=constraints) for target in run.facts.targets)
    return with_facts(run, targets=targets)


def with_facts(run: Run, **changes: Any) -> Run:
    """The run with other facts."""
    return replace(run, facts=replace(run.facts, **changes))


def with_metric(run: Run, name: str, *, direction: Any = "lower", unit: Any = "") -> Run:
    """The run of a task with another metric."""
    metric = MetricFacts(name=name, direction=direction, unit=unit)
    return with_facts(run, task=replace(run.facts.task, metric=metric))


def with_search(run: Run, **changes: Any) -> Run:
    """The run with other facts of the search."""
    return replace(run, search=replace(run.search, **changes))


def sensitivity() -> dict[str, SlotSensitivity]:
    """What each level loses: later and narrower layers more, a stage's first block most."""
    slots = {}
    for index, layer in enumerate(_layers(UNCHANGED)):
        base = 0.0008 * (1 + index % 7) * (2 if layer.name.startswith("layer1") else 1)
        labels = ("float32", "int8", "int4", "int2")
        slots[f"precision/{layer.name}"] = slot((0.0, base / 16, base, 40 * base), labels)
    for index, (name, width, _) in enumerate(_groups()):
        counts = range(8, width + 1, 8)
        losses = tuple((0.05 + 0.02 * (index % 4)) * (1 - count / width) ** 2 for count in counts)
        slots[f"keep/{name}"] = slot(losses, tuple(map(str, counts)))
    blocks = ("layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2")
    for index, name in enumerate(blocks):
        slots[f"skip/{name}"] = slot((0.0, 0.09 + 0.05 * (index % 3)), ("kept", "removed"))
    return slots


def slot(losses: tuple[float, ...], labels: tuple[str, ...]) -> SlotSensitivity:
    """A slot whose levels were all measured."""
    return SlotSensitivity(losses=losses, labels=labels, measured=(True,) * len(losses))


def point(trial: int, recipe: Recipe, *, seed: int = 0) -> Point:
    """One measured point of the recipe, deterministic for (trial, seed)."""
    noise = random.Random(1000 * seed + trial)
    layers = _layers(recipe)
    total = sum(layer.macs for layer in _layers(UNCHANGED))
    speed = sum(layer.macs * _speed(layer) for layer in layers) / total
    ratio = 1.0 if trial == 0 else (0.08 + 0.92 * speed) * noise.gauss(1.0, 0.05)
    share = sum(layer.macs for layer in layers) / total
    drop = 0.0 if trial == 0 else _drop(share, recipe, noise)
    accuracy = round(BASELINE_ACCURACY - drop, 4)
    loss = round(BASELINE_ACCURACY - accuracy, 4)
    spread = ratio * abs(noise.gauss(0.007, 0.002))
    size = sum(layer.bytes for layer in layers) + 17_400
    artifact = ArtifactFacts(
        file=f"artifacts/{trial:064x}.onnx",
        digest=f"{trial:064x}",
        size_bytes=size,
        macs=sum(layer.macs for layer in layers),
        parameters=sum(layer.bytes // (1 if layer.precision_asked == "int8" else 4) for layer in layers),
    )
    latency = Latency(
        latency_s=ratio * BASELINE_LATENCY_S,
        interval_s=((ratio - spread) * BASELINE_LATENCY_S, (ratio + spread) * BASELINE_LATENCY_S),
        ratio=ratio,
        ratio_interval=(ratio - spread, ratio + spread),
        p50_s=ratio * BASELINE_LATENCY_S,
        p90_s=1.04 * ratio * BASELINE_LATENCY_S,
        p99_s=1.19 * ratio * BASELINE_LATENCY_S,
        noisy=spread > 0.01 * ratio,
        timer="thread-cpu",
        pairs=5,
        peak_memory_bytes=41_000_000 + 2 * size,
    )
    measured = Measured(
        artifact=artifact,
        quality=Quality(validation=accuracy, interval=_accuracy_interval(accuracy)),
        drop=loss,
        drop_interval=_drop_interval(loss) if trial else None,
        latency=latency,
        layers=tuple(layers),
    )
    return Point(trial=trial, recipe=recipe, outcomes={"cpu": measured}, elapsed_s=14.0 + 42.0 * trial)


def _drop_interval(drop: float) -> tuple[float, float]:
    """Of 5,000 samples: twice as many changed as were lost, and 1 in 200 besides."""
    half = 1.96 * math.sqrt((2 * abs(drop) + 0.005) / 5000)
    return drop - half, drop + half


def _facts(max_drop: str | None) -> RunFacts:
    preprocessing = {"scale": 255.0, "mean": [0.491, 0.482, 0.447], "std": [0.247, 0.243, 0.262]}
    task = TaskFacts(
        name="resnet20",
        metric=MetricFacts(name="accuracy", direction="higher", unit="fraction"),
        spec="examples/cifar10.py:resnet20",
        arguments={"data": "../shared/data"},
        digest="5f" * 32,
        preprocessing=preprocessing,
    )
    target = RunTarget(
        name="cpu",
        profile_fingerprint="c0" * 32,
        threads=1,
        runtime="onnxruntime",
        runtime_options={"session.set_denormal_as_zero": "1"},
        batch=1,
        environment=environment(),
        constraints=Constraints(max_drop=parse_drop(max_drop) if max_drop else None),
    )
    layers = [
        LayerFacts(
            name=layer.name,
            kind=layer.kind,
            channels=layer.channels_out,
            macs=layer.macs,
            parameters=layer.bytes // 4,
        )
        for layer in _layers(UNCHANGED)
    ]
    groups = [
        GroupFacts(name=name, channels=width, layers=tuple(members), levels=tuple(range(8, width + 1, 8)))
        for name, width, members in _groups()
    ]
    return RunFacts(
        task=task,
        targets=(target,),
        command="autocompress search examples/cifar10.py:resnet20 --task-arg data=../shared/data"
        " --target cpu --budget 20m --max-drop 1pp",
        sampler="front",
        seed=0,
        layers=tuple(layers),
        groups=tuple(groups),
        excluded=(ExclusionFacts(name="fc", reason="its 10 outputs are the model's outputs"),),
    )


def environment() -> Environment:
    """Where the sample run was measured."""
    return Environment(
        cpu_model="Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        flags=("avx2", "avx512f", "avx512_vnni", "amx_int8"),
        governor=None,
        threads=1,
        cores=(0,),
        runtime="onnxruntime",
        runtime_version="1.31.1",
        python_version="3.11.7",
        os="Linux 6.1.0 x86_64",
        load_1m=0.21,
    )


def _failures() -> tuple[Failure, ...]:
    killed = "The worker ended with signal 9 (killed) while it measured."
    differing = "layer3.1.conv2: exported and torch outputs differ by 0.31 (tolerance 0.001)."
    return (
        Failure(trial=7, stage="measure", kind="crash", message=killed, retryable=True),
        Failure(trial=15, stage="export", kind="wrong-output", message=differing, retryable=False),
    )


def _on_edge(latency: Any) -> Latency:
    ratio = latency.ratio**0.8
    scale = ratio / latency.ratio
    return replace(
        latency,
        ratio=ratio,
        ratio_interval=tuple(scale * end for end in latency.ratio_interval),
        latency_s=4 * scale * latency.latency_s,
        interval_s=tuple(4 * scale * end for end in latency.interval_s),
    )


def _profiled(measured: Measured) -> dict[str, Any]:
    """What a finalist has more: the profiler's times, made up from MACs and precision."""
    layers = [
        replace(
            layer,
            time_s=4e-6 + 1.8e-11 * _speed(layer) * layer.macs,
            time_original_s=4e-6 + 1.8e-11 * plain.macs,
        )
        for layer, plain in zip(measured.layers, _layers(UNCHANGED), strict=True)
    ]
    return {"finalist": True, "other_time_s": 150e-6, "layers": tuple(layers)}


def _speed(layer: LayerRow) -> float:
    return 0.42 if layer.precision_executed == "int8" else 1.0


def _groups() -> list[tuple[str, int, list[str]]]:
    """Channel groups: per stage the residual sum, and inside each block the channels between its two
    convolutions.
    """
    groups = []
    for stage, (width, _) in enumerate(STAGES, start=1):
        ends = [f"layer{stage}.{block}.conv2" for block in range(3)]
        groups.append((f"layer{stage}", width, ["conv1", *ends] if stage == 1 else ends))
        inner = [f"layer{stage}.{block}.conv1" for block in range(3)]
        groups += [(name, width, [name]) for name in inner]
    return groups


def _layers(recipe: Recipe) -> list[LayerRow]:
    """What the recipe makes of each layer."""
    widths = {name: width for name, width, _ in _groups()} | {"fc": CLASSES}
    counts = widths | dict(recipe.keep)
    rows = [_layer(recipe, "conv1", (3, 3), (counts["layer1"], widths["layer1"]), pixels=32 * 32)]
    previous = "layer1"
    for stage, (_, side) in enumerate(STAGES, start=1):
        for block in range(3):
            inner, outer = f"layer{stage}.{block}.conv1", f"layer{stage}"
            second = f"layer{stage}.{block}.conv2"
            for name, source, output in ((inner, previous, inner), (second, inner, outer)):
                inputs, outputs = (counts[source], widths[source]), (counts[output], widths[output])
                rows.append(_layer(recipe, name, inputs, outputs, pixels=side**2))
            previous = outer
    rows.append(_layer(recipe, "fc", (counts["layer3"], 64), (CLASSES, CLASSES), pixels=1, taps=1))
    return rows


def _layer(
    recipe: Recipe,
    name: str,
    inputs: tuple[int, int],
    outputs: tuple[int, int],
    *,
    pixels: int,
    taps: int = 9,
) -> LayerRow:
    """A layer with (channels, original channels) of its inputs and outputs."""
    asked = recipe.precision.get(name, "float32")
    weights = taps * inputs[0] * outputs[0] + outputs[0]
    return LayerRow(
        name=name,
        kind="linear" if taps == 1 else "conv",
        channels_in=inputs[0],
        channels_out=outputs[0],
        channels_in_original=inputs[1],
        channels_out_original=outputs[1],
        precision_asked=asked,
        precision_executed="float32" if inputs[0] == 3 and recipe.keep else asked,
        bits=8 if asked == "int8" else 32,
        macs=pixels * taps * inputs[0] * outputs[0],
        parameters=weights,
        bytes=weights * (1 if asked == "int8" else 4),
    )


def _recipe(draw: random.Random, *, keep: bool = True, int8: float | None = None) -> Recipe:
    """A random recipe; `int8` is the share of int8 layers."""
    share = draw.choice([1.0, 0.9, 0.8, 0.6]) if int8 is None else int8
    strength = draw.random()
    counts = {
        name: max(8, 8 * round(width * (1 - 0.75 * strength * draw.random()) / 8))
        for name, width, _ in _groups()
    }
    widths = {name: width for name, width, _ in _groups()}
    steps = draw.choice([200, 400, 800])
    recovery = Recovery(steps=steps, learning_rate=0.003, temperature=4.0, weight=0.7)
    return Recipe(
        keep={name: count for name, count in counts.items() if count < widths[name]} if keep else {},
        precision={layer.name: "int8" for layer in _layers(UNCHANGED) if draw.random() < share},
        recovery=recovery if keep and draw.random() < 0.8 else None,
    )


def _drop(share: float, recipe: Recipe, noise: random.Random) -> float:
    pruning = 0.06 * (1 - share) ** 2 * (0.45 if recipe.recovery else 1.6)
    return max(-0.002, pruning + 0.0025 * (len(recipe.precision) / 20) + noise.gauss(0.0, 0.0016))


def _accuracy_interval(accuracy: float) -> tuple[float, float]:
    half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / 5000)
    return (accuracy - half, accuracy + half)
