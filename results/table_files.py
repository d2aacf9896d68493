"""The front for a spreadsheet and for a program: CSV and JSON."""

import csv
import io
from typing import Any

from ..text.printable import csv_cell, json_text
from .choosing.recommended import named_points, recommended
from .formats import interval_of, label_of, mean_bits
from .placed import place_of, placed, placement_json, ratio_to_onnxruntime, reference_target
from .records.facts import RunTarget, constraints_json
from .records.latency import Predicted
from .records.point import Point
from .records.run import SCHEMA_VERSION, Run
from .table import same_place, shown_points
from .view import PointOn, RunOn, views_of
from .why import why_json

RECORD_FIELDS = (
    *("trial", "label", "on_front", "chosen", "quality", "quality_low", "quality_high", "test_quality"),
    *("drop", "drop_low", "drop_high", "drop_limit_chance", "test_drop"),
    *("latency_s", "latency_low_s", "latency_high_s", "latency_ratio", "p99_s", "noisy"),
    *("size_bytes", "size_ratio"),
    *("energy_j", "energy_low_j", "energy_high_j", "energy_ratio"),
    *("predicted_latency_s", "predicted_latency_ratio", "prediction_source"),
    *("macs", "parameters", "peak_memory_bytes", "indistinguishable_from", "mean_bits", "recovery_steps"),
    *("warnings", "file"),
)

DEVICE_FIELDS = ("target", "ratio", "ratio_to_onnxruntime")  # relative to the fastest original; see placed.py


def front_records(run: RunOn) -> list[dict[str, Any]]:
    """Flat records of the shown points with the keys of RECORD_FIELDS; a number that was not measured is
    None.
    """
    best = recommended(run.run).point.trial
    return [record_of(run.on(point), chosen=point.trial == best) for point in shown_points(run.run)]


def front_csv(run: Run) -> str:
    """The records as CSV with a header line; None is an empty cell, trials are separated by spaces, warnings
    by semicolons.

    With several targets one front comes after the other, and the first column says which target a line is of.
    Of the runtimes of one device there is one front, and DEVICE_FIELDS follow the target.
    """
    views = views_of(run)
    if run.device is not None:
        return _device_csv(run)
    first = ("target",) if len(views) > 1 else ()
    text = io.StringIO()
    writer = csv.DictWriter(text, (*first, *RECORD_FIELDS), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for view in views:
        for record in front_records(view):
            writer.writerow(_row({"target": view.target.name, **record}))
    return text.getvalue()


def _device_csv(run: Run) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, (*DEVICE_FIELDS, *RECORD_FIELDS), lineterminator="\n")
    writer.writeheader()
    best, front = recommended(run).point, run.front
    for point in shown_points(run):
        there = placed(run, point)
        record = record_of(there, chosen=same_place(run, point, best))
        record["on_front"] = any(same_place(run, point, other) for other in front)
        ratios = run.vector(point)[2], ratio_to_onnxruntime(run, point)
        own = dict(zip(DEVICE_FIELDS, (there.view.target.name, *ratios), strict=True))
        writer.writerow(_row({**own, **record, "size_ratio": run.vector(point)[1]}))
    return text.getvalue()


def front_json(run: Run) -> str:
    """`front_value` as indented JSON."""
    return json_text(front_value(run), indent=2)


def front_value(run: Run) -> dict[str, Any]:
    """The front and what is needed to read it: task, targets, environments, constraints, baselines.

    With one target it is flat and has an entry `why`. With several, each point has an entry for each target;
    of the runtimes of one device, each point is flat and says its target.
    """
    views = views_of(run)
    if run.device is not None:
        return _front_of_device(run, views)
    return _front_of_one(views[0]) if len(views) == 1 else _front_of_all(run)


def _row(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its lists as text, for CSV. No text is a formula, and numbers stay numbers."""
    same = " ".join(map(str, record["indistinguishable_from"]))
    texts = {name: value for name, value in record.items() if isinstance(value, str)}
    texts["warnings"] = "; ".join(record["warnings"])
    cells = {name: csv_cell(text) for name, text in texts.items()}
    return record | {"indistinguishable_from": same} | cells


def _front_of_one(view: RunOn) -> dict[str, Any]:
    misses = () if view.front else view.run.nearest_misses()
    uniform = view.uniform_int8
    return {
        "schema_version": SCHEMA_VERSION,
        "task": view.task.to_json(),
        "target": _target(view.target),
        **_circumstances(view),
        **_progress(view.run),
        "baseline": view.baseline.to_json(),
        "uniform_int8": uniform.to_json() if uniform else None,
        "front": [point.to_json() for point in view.front],
        "nearest_misses": [
            {"trial": point.trial, "violations": view.on(point).violations} for point in misses
        ],
        "why": why_json(view),
    }


def _front_of_all(run: Run) -> dict[str, Any]:
    views = views_of(run)
    misses = () if run.front else run.nearest_misses()
    return {
        "schema_version": SCHEMA_VERSION,
        "task": run.facts.task.to_json(),
        "targets": [_target(view.target) | _circumstances(view) for view in views],
        **_progress(run),
        "baseline": _point(run.baseline, views),
        "uniform_int8": _point(run.uniform_int8, views) if run.uniform_int8 else None,
        "front": [_point(point, views) for point in run.front],
        "fronts": {name: list(trials) for name, trials in run.fronts.items()},
        "nearest_misses": [_miss(run, point) for point in misses],
        "queued": {name: _queued(run, name, count) for name, count in run.waiting.items()},
    }


def _front_of_device(run: Run, views: list[RunOn]) -> dict[str, Any]:
    device, misses = run.device, () if run.front else run.nearest_misses()
    assert device is not None
    reference = reference_target(run)
    originals = {
        name: {
            "ratio": run.scale(name).ratio,
            "ratio_interval": [
                run.scale(name).ratio * (1 + sign * run.scale(name).half_width) for sign in (-1, 1)
            ],
            "ratio_to_onnxruntime": device.scale(name, to=reference).ratio if reference else None,
            "timed_in_turns": name in run.in_turns,
            "latency_s": run.baseline.measured[name].latency.seconds,
            "size_bytes": run.baseline.measured[name].artifact.size_bytes,
        }
        for name in run.target_names
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "task": run.facts.task.to_json(),
        "alternatives": [_target(view.target) | _circumstances(view) for view in views],
        "left_out": dict(run.baseline.left_out),
        **_progress(run),
        "originals": originals,
        "baseline": placement_json(run, run.placements[0]),
        "uniform_int8": placement_json(run, run.uniform_int8) if run.uniform_int8 else None,
        "front": [placement_json(run, point) for point in run.front],
        "fronts": {name: list(trials) for name, trials in run.fronts.items()},
        "nearest_misses": [_miss(run, point) | {"target": place_of(run, point)} for point in misses],
        "queued": {name: _queued(run, name, count) for name, count in run.waiting.items()},
    }


def _target(target: RunTarget) -> dict[str, Any]:
    """The target without its environment and limits; `predicted` when its latencies are predicted."""
    value = target.to_json()
    prediction = value.pop("prediction")
    del value["environment"], value["constraints"]
    return value | ({"predicted": prediction} if prediction else {})


def _circumstances(view: RunOn) -> dict[str, Any]:
    target = view.target
    return {
        "environment": target.environment.to_json() if target.environment else None,
        "constraints": constraints_json(target.constraints) | {"max_drop_limit": view.limits.drop},
    }


def _progress(run: Run) -> dict[str, Any]:
    best = recommended(run)
    finished = sum(point.finetuned is None for point in run.points)
    return {
        "status": run.status,
        "elapsed_s": run.elapsed_s,
        "trials": {"finished": finished, "failed": len(run.failures), "screened": run.screened}
        | ({"stopped": len(run.stopped)} if run.stopped else {}),
        "memory": {
            "peak_bytes": run.search.peak_memory_bytes,
            "limit_bytes": run.search.memory_limit_bytes,
        },
        "chosen": {
            "trial": best.point.trial,
            **_place(run, best.point),
            "reason": best.reason,
            "meets_limits": best.meets,
        },
        "recommended": [
            {"trial": named.point.trial, **_place(run, named.point), "names": list(named.names)}
            for named in named_points(run)
        ],
    }


def _place(run: Run, point: Point) -> dict[str, str]:
    return {} if run.device is None else {"target": place_of(run, point)}


def _point(point: Point, views: list[RunOn]) -> dict[str, Any]:
    """The recipe of a point and its numbers on each target; null where it has none."""
    targets = {
        view.target.name: view.on(point).to_json() if view.target.name in point.measured else None
        for view in views
    }
    return {"trial": point.trial, "recipe": point.recipe.to_json(), "targets": targets}


def _miss(run: Run, point: Point) -> dict[str, Any]:
    violations = {name: excess.value for name, excess in run.violations(point).items()}
    return {"trial": point.trial, "violations": violations}


def _queued(run: Run, target: str, count: int) -> dict[str, Any]:
    """How many measurements wait for a target, and the reason of the last one."""
    waiting = [point.missing[target] for point in run.points if target in point.waiting]
    return {"count": count, "reason": waiting[-1].failure.message}


def record_of(point: PointOn, *, chosen: bool) -> dict[str, Any]:
    """The numbers of a point as a flat record with the keys of RECORD_FIELDS."""
    view, quality, artifact = point.view, point.quality, point.artifact
    predicted = point.latency if isinstance(point.latency, Predicted) else None
    measured = None if isinstance(point.latency, Predicted) else point.latency
    interval, recovery, energy = interval_of(point.latency), point.recipe.recovery, point.latency.energy
    return {
        "trial": point.trial,
        "label": label_of(point, view),
        "on_front": any(point.trial == other.trial for other in view.front),
        "chosen": chosen,
        "quality": quality.validation,
        "quality_low": quality.interval[0] if quality.interval else None,
        "quality_high": quality.interval[1] if quality.interval else None,
        "test_quality": quality.test,
        "test_drop": quality.test_drop,
        "drop": point.drop,
        "drop_low": point.drop_interval[0] if point.drop_interval else None,
        "drop_high": point.drop_interval[1] if point.drop_interval else None,
        "drop_limit_chance": point.chance,
        "latency_s": measured.latency_s if measured else None,
        "latency_low_s": interval[0] if interval else None,
        "latency_high_s": interval[1] if interval else None,
        "latency_ratio": measured.ratio if measured else None,
        "p99_s": measured.p99_s if measured else None,
        "noisy": measured.noisy if measured else None,
        "predicted_latency_s": predicted.seconds if predicted else None,
        "predicted_latency_ratio": predicted.ratio if predicted else None,
        "prediction_source": predicted.source if predicted else None,
        "size_bytes": artifact.size_bytes,
        "size_ratio": point.size_ratio,
        "energy_j": energy.energy_j if energy else None,
        "energy_low_j": energy.interval_j[0] if energy else None,
        "energy_high_j": energy.interval_j[1] if energy else None,
        "energy_ratio": energy.ratio if energy else None,
        "macs": artifact.macs,
        "parameters": artifact.parameters,
        "peak_memory_bytes": measured.peak_memory_bytes if measured else None,
        "indistinguishable_from": list(point.indistinguishable_from),
        "mean_bits": mean_bits(point),
        "recovery_steps": recovery.steps if recovery else 0,
        "warnings": point.warnings,
        "file": artifact.file,
    }
