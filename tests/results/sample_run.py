"""A realistic `front.json` without a search: a ResNet-20 on CIFAR-10, about 25 points, two failures, a
history.

Shapes, MACs and sizes follow from the recipes; accuracies and latencies come from a smooth made-up model plus
noise.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

from autocompress.results.formats import FRONT_SCHEMA_VERSION

STAGES = ((16, 32), (32, 16), (64, 8))  # channels, height and width of the feature map
BASELINE_LATENCY_S = 1.241e-3
BASELINE_ACCURACY = 0.9172
CLASSES = 10
UNCHANGED: dict[str, Any] = {"keep": {}, "precision": {}, "rank": {}, "skip": [], "recovery": None}


def sample_run(seed: int = 2, *, candidates: int = 24, max_drop: float | None = 0.01) -> dict[str, Any]:
    """A finished run with `candidates` points besides the original model (trial 0) and uniform int8 (trial
    1).
    """
    draw = random.Random(seed)
    layers = list(float_layers())
    original, uniform = (
        point(0, _recipe(draw, keep=False, int8=0.0)),
        point(1, _recipe(draw, keep=False, int8=1.0)),
    )
    failed = {7: "crash", 15: "wrong-output"}
    trials = [number for number in range(2, candidates + 2 + len(failed)) if number not in failed]
    points = [original, uniform, *(point(number, _recipe(draw), seed=seed) for number in trials)]
    _judge(points, max_drop)
    front = [
        p for p in points if p["feasible"] and not any(_dominates(q, p) for q in points if q["feasible"])
    ]
    for member in {id(p): p for p in (original, uniform, *front)}.values():
        _profile(member)
    for member in front:
        accuracy = member["quality"]["validation"] - draw.uniform(0.0, 0.004)
        member["quality"] |= {"test": round(accuracy, 4), "test_interval": _accuracy_interval(accuracy)}
        member["indistinguishable_from"] = [other["trial"] for other in front if _same(member, other)]
    return {
        "schema_version": FRONT_SCHEMA_VERSION,
        "task": {
            "name": "resnet20",
            "metric": {"name": "accuracy", "direction": "higher", "unit": "fraction"},
            "spec": "examples/cifar10.py:resnet20",
            "arguments": {"data": "../shared/data"},
            "digest": "5f" * 32,
            "preprocessing": {"scale": 255.0, "mean": [0.491, 0.482, 0.447], "std": [0.247, 0.243, 0.262]},
        },
        "target": {
            "name": "cpu",
            "profile_fingerprint": "c0" * 32,
            "threads": 1,
            "runtime": "onnxruntime",
            "runtime_options": {"session.set_denormal_as_zero": "1"},
            "batch": 1,
        },
        "environment": {
            "cpu_model": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
            "flags": ["avx2", "avx512f", "avx512_vnni", "amx_int8"],
            "governor": None,
            "threads": 1,
            "cores": 2,
            "runtime": "onnxruntime",
            "runtime_version": "1.31.1",
            "python_version": "3.11.7",
            "os": "Linux 6.1.0 x86_64",
            "load_1m": 0.21,
        },
        "command": "autocompress search examples/cifar10.py:resnet20 --task-arg data=../shared/data"
        " --target cpu --budget 20m --max-drop 1pp",
        "constraints": {
            "max_drop": "1pp" if max_drop else None,
            "max_drop_limit": max_drop,
            "max_latency_s": None,
            "max_size_bytes": None,
        },
        "status": "finished",
        "elapsed_s": 1187.4,
        "trials": {"finished": len(points), "failed": len(failed), "screened": 5},
        "baseline": original,
        "uniform_int8": uniform,
        "front": sorted(front, key=lambda p: p["latency"]["latency_s"]),
        "dominated": [p for p in points if p not in front],
        "history": _history(points),
        "failures": [
            {
                "trial": 7,
                "stage": "measure",
                "kind": "crash",
                "message": "The worker ended with signal 9 (killed) while it measured.",
                "retryable": True,
            },
            {
                "trial": 15,
                "stage": "export",
                "kind": "wrong-output",
                "message": "layer3.1.conv2: exported and torch outputs differ by 0.31 (tolerance 0.001).",
                "retryable": False,
            },
        ],
        "nearest_misses": [],
        "layers": layers,
        "groups": [
            {"name": name, "channels": width, "layers": members, "levels": list(range(8, width + 1, 8))}
            for name, width, members in _groups()
        ],
        "excluded": [{"name": "fc", "reason": "its 10 outputs are the model's outputs"}],
        "sensitivity": sensitivity(),
        "time": {
            "sensitivity": 41.0,
            "latency table": 63.5,
            "reconstruct": 58.2,
            "recover": 612.4,
            "validate": 187.9,
        }
        | {"timing loop": 151.3, "r0": 12.0, "build": 21.8, "finalists": 24.1},
        "latency_table": {"kendall_tau": 0.94, "median_error": 0.021, "count": len(points)},
        "rungs": {
            "r0": {"count": 400},
            "r1": {"count": 26},
            "r2": {"count": 9},
            "correlation": {"r0-r1": 0.83, "r1-r2": 0.91},
        },
    }


def sensitivity() -> dict[str, Any]:
    """What each level loses: later and narrower layers more, a stage's first block most."""
    losses: dict[str, list[float]] = {}
    labels: dict[str, list[str]] = {}
    for index, layer in enumerate(float_layers()):
        base = 0.0008 * (1 + index % 7) * (2 if layer["name"].startswith("layer1") else 1)
        labels[f"precision/{layer['name']}"] = ["float32", "int8", "int4", "int2"]
        losses[f"precision/{layer['name']}"] = [0.0, base / 16, base, 40 * base]
    for index, (name, width, _) in enumerate(_groups()):
        counts = list(range(8, width + 1, 8))
        labels[f"keep/{name}"] = [str(count) for count in counts]
        losses[f"keep/{name}"] = [(0.05 + 0.02 * (index % 4)) * (1 - count / width) ** 2 for count in counts]
    for index, name in enumerate(
        ("layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2")
    ):
        labels[f"skip/{name}"], losses[f"skip/{name}"] = ["0", "1"], [0.0, 0.09 + 0.05 * (index % 3)]
    return {"losses": losses, "labels": labels}


def float_layers() -> Sequence[dict[str, Any]]:
    """The layers of the uncompressed network, in order of execution."""
    return [
        {key: layer[key] for key in ("name", "kind", "macs")}
        | {"channels": layer["channels_out"], "parameters": layer["bytes"] // 4}
        for layer in _layers(UNCHANGED)
    ]


def point(trial: int, recipe: dict[str, Any], *, seed: int = 0) -> dict[str, Any]:
    """One measured point of the recipe, deterministic for (trial, seed)."""
    noise = random.Random(1000 * seed + trial)
    layers = _layers(recipe)
    total = sum(layer["macs"] for layer in _layers(UNCHANGED))
    speed = (
        sum(layer["macs"] * (0.42 if layer["precision_executed"] == "int8" else 1.0) for layer in layers)
        / total
    )
    ratio = 1.0 if trial == 0 else (0.08 + 0.92 * speed) * noise.gauss(1.0, 0.05)
    kept = sum(layer["macs"] for layer in layers) / total
    drop = 0.0 if trial == 0 else _drop(kept, recipe, noise)
    accuracy = round(BASELINE_ACCURACY - drop, 4)
    spread = ratio * abs(noise.gauss(0.007, 0.002))
    size = sum(layer["bytes"] for layer in layers) + 17_400
    asked_in_vain = [layer for layer in layers if layer["precision_asked"] != layer["precision_executed"]]
    return {
        "trial": trial,
        "recipe": recipe,
        "artifact": {
            "file": f"artifacts/{trial:064x}.onnx",
            "digest": f"{trial:064x}",
            "size_bytes": size,
            "macs": sum(layer["macs"] for layer in layers),
            "parameters": sum(
                layer["bytes"] // (1 if layer["precision_asked"] == "int8" else 4) for layer in layers
            ),
        },
        "quality": {
            "validation": accuracy,
            "interval": _accuracy_interval(accuracy),
            "test": None,
            "test_interval": None,
        },
        "drop": round(BASELINE_ACCURACY - accuracy, 4),
        "latency": {
            "latency_s": ratio * BASELINE_LATENCY_S,
            "interval_s": [(ratio - spread) * BASELINE_LATENCY_S, (ratio + spread) * BASELINE_LATENCY_S],
            "ratio": ratio,
            "ratio_interval": [ratio - spread, ratio + spread],
            "p50_s": ratio * BASELINE_LATENCY_S,
            "p90_s": 1.04 * ratio * BASELINE_LATENCY_S,
            "p99_s": 1.19 * ratio * BASELINE_LATENCY_S,
            "noisy": spread > 0.01 * ratio,
            "timer": "thread-cpu",
            "pairs": 5,
            "peak_memory_bytes": 41_000_000 + 2 * size,
        },
        "feasible": True,
        "violations": {},
        "indistinguishable_from": [],
        "finalist": False,
        "layers": [layer | {"time_s": None, "time_original_s": None} for layer in layers],
        "other_time_s": None,
        "warnings": [f"asked int8, ran float32: {layer['name']}" for layer in asked_in_vain],
    }


def _profile(candidate: dict[str, Any]) -> None:
    """Makes a finalist of the point: the profiler's times, made up from MACs and precision."""
    candidate |= {"finalist": True, "other_time_s": 150e-6}
    for layer, plain in zip(candidate["layers"], _layers(UNCHANGED), strict=True):
        speed = 0.42 if layer["precision_executed"] == "int8" else 1.0
        layer |= {
            "time_s": 4e-6 + 1.8e-11 * speed * layer["macs"],
            "time_original_s": 4e-6 + 1.8e-11 * plain["macs"],
        }


def _groups() -> list[tuple[str, int, list[str]]]:
    """Channel groups: per stage the residual sum, and inside each block the channels between its two
    convolutions.
    """
    groups = []
    for stage, (width, _) in enumerate(STAGES, start=1):
        ends = [f"layer{stage}.{block}.conv2" for block in range(3)]
        groups.append((f"layer{stage}", width, ["conv1", *ends] if stage == 1 else ends))
        groups += [
            (f"layer{stage}.{block}.conv1", width, [f"layer{stage}.{block}.conv1"]) for block in range(3)
        ]
    return groups


def _layers(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """What the recipe makes of each layer."""
    full = {name: width for name, width, _ in _groups()}
    kept = full | recipe["keep"]
    rows = [
        _layer(recipe, "conv1", 3, ("layer1", kept, full), pixels=32 * 32, taps=9, channels_in_original=3)
    ]
    previous = "layer1"
    for stage, (_, side) in enumerate(STAGES, start=1):
        for block in range(3):
            inner, outer = f"layer{stage}.{block}.conv1", f"layer{stage}"
            for name, source, output in (
                (inner, previous, inner),
                (f"layer{stage}.{block}.conv2", inner, outer),
            ):
                shape = (output, kept, full)
                rows.append(
                    _layer(
                        recipe,
                        name,
                        kept[source],
                        shape,
                        pixels=side**2,
                        taps=9,
                        channels_in_original=full[source],
                    )
                )
            previous = outer
    fully = ("fc", {"fc": CLASSES}, {"fc": CLASSES})
    rows.append(_layer(recipe, "fc", kept["layer3"], fully, pixels=1, taps=1, channels_in_original=64))
    return rows


def _layer(
    recipe: dict[str, Any],
    name: str,
    channels_in: int,
    shape: tuple[str, dict[str, int], dict[str, int]],
    *,
    pixels: int,
    taps: int,
    channels_in_original: int,
) -> dict[str, Any]:
    group, kept, full = shape
    asked = recipe["precision"].get(name, "float32")
    return {
        "name": name,
        "kind": "linear" if taps == 1 else "conv",
        "channels_in": channels_in,
        "channels_out": kept[group],
        "channels_in_original": channels_in_original,
        "channels_out_original": full[group],
        "precision_asked": asked,
        "precision_executed": "float32" if channels_in == 3 and recipe["keep"] else asked,
        "bits": 8 if asked == "int8" else 32,
        "macs": pixels * taps * channels_in * kept[group],
        "parameters": taps * channels_in * kept[group] + kept[group],
        "bytes": (taps * channels_in * kept[group] + kept[group]) * (1 if asked == "int8" else 4),
    }


def _recipe(draw: random.Random, *, keep: bool = True, int8: float | None = None) -> dict[str, Any]:
    """A random recipe; `int8` is the share of int8 layers."""
    share = draw.choice([1.0, 0.9, 0.8, 0.6]) if int8 is None else int8
    strength = draw.random()
    kept = {
        name: max(8, 8 * round(w * (1 - 0.75 * strength * draw.random()) / 8)) for name, w, _ in _groups()
    }
    full = {name: width for name, width, _ in _groups()}
    recovery = {
        "steps": draw.choice([200, 400, 800]),
        "learning_rate": 0.003,
        "temperature": 4.0,
        "weight": 0.7,
        "hardness": 0.0,
        "features": 0.0,
    }
    return {
        "keep": {name: count for name, count in kept.items() if count < full[name]} if keep else {},
        "precision": {layer["name"]: "int8" for layer in _layers(UNCHANGED) if draw.random() < share},
        "rank": {},
        "skip": [],
        "recovery": recovery if keep and draw.random() < 0.8 else None,
    }


def _drop(kept: float, recipe: dict[str, Any], noise: random.Random) -> float:
    pruning = 0.06 * (1 - kept) ** 2 * (0.45 if recipe["recovery"] else 1.6)
    return max(-0.002, pruning + 0.0025 * (len(recipe["precision"]) / 20) + noise.gauss(0.0, 0.0016))


def _accuracy_interval(accuracy: float) -> list[float]:
    half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / 5000)
    return [accuracy - half, accuracy + half]


def _judge(points: list[dict[str, Any]], max_drop: float | None) -> None:
    for candidate in points:
        excess = candidate["drop"] - max_drop if max_drop is not None else 0.0
        candidate["feasible"] = excess <= 0
        candidate["violations"] = {"drop": excess} if excess > 0 else {}


def _objectives(candidate: dict[str, Any]) -> tuple[float, float, float]:
    return candidate["drop"], candidate["latency"]["latency_s"], candidate["artifact"]["size_bytes"]


def _dominates(one: dict[str, Any], other: dict[str, Any]) -> bool:
    a, b = _objectives(one), _objectives(other)
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    low, high = one["latency"]["interval_s"]
    other_low, other_high = other["latency"]["interval_s"]
    return one is not other and low <= other_high and other_low <= high


def _history(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A growing hypervolume; the true one is another module's business."""
    history, best = [], 0.0
    for index, candidate in enumerate(points):
        gain = (1 - candidate["latency"]["ratio"]) * (1 - min(1.0, max(0.0, candidate["drop"]) / 0.05))
        best = max(best, gain) + (0.004 if gain > 0.6 * best else 0.0)
        history.append(
            {"elapsed_s": 14.0 + 42.0 * index, "trial": candidate["trial"], "hypervolume": min(1.0, best)}
        )
    return history


def sample_run_of_two(*, max_latency_s: float | None = None, missing: int | None = None) -> dict[str, Any]:
    """The sample run on `cpu` and `edge`, which is slower and gains less; `missing` is a trial without a
    latency on `edge`.
    """
    run = sample_run()
    points = {p["trial"]: p for p in (*run["front"], *run["dominated"])}
    views = {name: {trial: _on_target(p, name) for trial, p in points.items()} for name in ("cpu", "edge")}
    if missing is not None:
        views["edge"][missing] = {
            "artifact": points[missing]["artifact"],
            "latency": None,
            "drop": 0.0,
            "missing": "restless",
        }
    for trial, point_ in points.items():
        point_["targets"] = {name: view[trial] for name, view in views.items()}
    complete = [p for p in points.values() if p["trial"] != missing]
    worst = {p["trial"]: _worst(p) for p in complete}
    joint = [
        p
        for p in complete
        if p["feasible"] and not any(_below(worst[q["trial"]], worst[p["trial"]]) for q in complete)
    ]
    facts = {
        "environment": run["environment"],
        "constraints": run["constraints"] | {"max_latency_s": max_latency_s},
    }
    fronts = {
        name: [t for t, p in view.items() if p["latency"] and _alone(p, view)] for name, view in views.items()
    }
    return {
        **run,
        "targets": [{**run["target"], "name": name, **facts} for name in views],
        "fronts": fronts,
        "front": joint,
        "dominated": [p for p in points.values() if p not in joint],
    }


def _on_target(point_: dict[str, Any], name: str) -> dict[str, Any]:
    names = ("artifact", "quality", "drop", "feasible", "violations", "finalist", "other_time_s", "warnings")
    latency = dict(point_["latency"])
    if name == "edge":
        ratio = latency["ratio"] ** 0.8
        scale = ratio / latency["ratio"]
        latency |= {"ratio": ratio, "ratio_interval": [scale * x for x in latency["ratio_interval"]]}
        latency |= {
            "latency_s": 4 * scale * latency["latency_s"],
            "interval_s": [4 * scale * x for x in latency["interval_s"]],
        }
    return {key: point_[key] for key in names} | {"latency": latency, "indistinguishable_from": []}


def _worst(point_: dict[str, Any]) -> tuple[float, float, float]:
    ratios = [seen["latency"]["ratio"] for seen in point_["targets"].values()]
    return point_["drop"], max(ratios), point_["artifact"]["size_bytes"]


def _below(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _alone(one: dict[str, Any], view: dict[int, dict[str, Any]]) -> bool:
    others = [other for other in view.values() if other["latency"] and other["feasible"]]
    return one["feasible"] and not any(_dominates(other, one) for other in others)
