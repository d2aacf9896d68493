"""Fine-tuned points of a run (`pick --finetune`), told apart from trials by numbers below zero: −1, −2, …

They are kept beside front.json, which a continued search writes again, and join the other points whenever a run is read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .formats import Point, Run
from .front import non_dominated
from .pick import costs_of, drop_scale_of, excess_of, limits_of, measured_points

FINETUNED = "finetuned"


def with_finetuned(run: Run, points: Sequence[Point]) -> dict[str, Any]:
    """The run with these points in its front or among the dominated ones; limits and overlaps of intervals are judged anew."""
    if not points:
        return dict(run)
    limits = limits_of(run)
    added = [{**point, "violations": excess_of(point, limits)} for point in points]
    added = [{**point, "feasible": not point["violations"]} for point in added]
    front = non_dominated([*run["front"], *(point for point in added if point["feasible"])], lambda point: _vector(point, run))
    front.sort(key=lambda point: point["latency"]["ratio"])
    members = {point["trial"] for point in front}
    others = [point for point in [*run["dominated"], *run["front"], *added] if point["trial"] not in members]
    joined = {**run, "front": front, "dominated": others}
    return _with_overlaps(joined, {point["trial"] for point in added})


def origin_of(point: Point, run: Run) -> Point:
    """The trial that a fine-tuned point was made of; any other point itself."""
    tuned = point.get("finetuned")
    return next(other for other in measured_points(run) if other["trial"] == tuned["of"]) if tuned else point


def _vector(point: Point, run: Run) -> tuple[float, float, float]:
    """(normalized drop, size, latency ratio), all minimized."""
    costs = costs_of(point)
    return costs["drop"] / drop_scale_of(run), costs["size"], point["latency"]["ratio"]


def _with_overlaps(run: dict[str, Any], added: set[int]) -> dict[str, Any]:
    """Says of every point which of the added ones it cannot be told apart from, and the other way round."""
    points = measured_points(run)

    def completed(point: Point) -> Point:
        known = [] if point["trial"] in added else list(point["indistinguishable_from"])
        new = [
            other["trial"]
            for other in points
            if other["trial"] != point["trial"] and added & {other["trial"], point["trial"]} and _overlap(point, other)
        ]
        return {**point, "indistinguishable_from": known + new}

    lists = {name: [completed(point) for point in run[name]] for name in ("front", "dominated")}
    single = {name: completed(run[name]) for name in ("baseline", "uniform_int8") if run[name]}
    return {**run, **lists, **single}


def _overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    (low_1, high_1), (low_2, high_2) = first["latency"]["ratio_interval"], second["latency"]["ratio_interval"]
    return bool(low_1 <= high_2 and low_2 <= high_1)
