"""Fine-tuned points of a run (`pick --finetune`), told apart from trials by numbers below zero: −1, −2, …

They are kept beside front.json, which a continued search writes again, and join the other points whenever a
run is read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .formats import Point, Run, ratio_interval_of, ratio_of
from .front import non_dominated
from .pick import costs_of, drop_scale_of, excess_of, limits_of, measured_points
from .pick_joint import worst_cost
from .views import has_several, point_on, run_on, targets_of

FINETUNED = "finetuned"


def with_finetuned(run: Run, points: Sequence[Point]) -> dict[str, Any]:
    """The run with these points in its front or among the dominated ones; limits and overlaps of intervals
    are judged anew.
    """
    if not points:
        return dict(run)
    return _with_finetuned_of_several(run, points) if has_several(run) else _with_finetuned(run, points)


def _with_finetuned(run: Run, points: Sequence[Point]) -> dict[str, Any]:
    """The same for one target."""
    limits = limits_of(run)
    added = [{**point, "violations": excess_of(point, limits)} for point in points]
    added = [{**point, "feasible": not point["violations"]} for point in added]
    front = non_dominated(
        [*run["front"], *(point for point in added if point["feasible"])], lambda point: _vector(point, run)
    )
    front.sort(key=ratio_of)
    members = {point["trial"] for point in front}
    others = [point for point in [*run["dominated"], *run["front"], *added] if point["trial"] not in members]
    joined = {**run, "front": front, "dominated": others}
    return _with_overlaps(joined, {point["trial"] for point in added})


def _with_finetuned_of_several(run: Run, points: Sequence[Point]) -> dict[str, Any]:
    """The same for several targets: each point is judged on every target, then by its worst numbers."""
    views = {
        name: _with_finetuned(run_on(run, name), [point_on(point, name) for point in points])
        for name in targets_of(run)
    }
    seen = {name: {point["trial"]: point for point in measured_points(view)} for name, view in views.items()}
    added = [
        _judged(point, {name: found[point["trial"]] for name, found in seen.items()}) for point in points
    ]
    others = [_with_new_overlaps(point, seen) for point in [*run["front"], *run["dominated"]]]
    members = {point["trial"] for point in run["front"]}
    candidates = [point for point in others if point["trial"] in members] + [
        point for point in added if point["feasible"]
    ]
    front = non_dominated(candidates, lambda point: _worst_vector(point, run))
    chosen = {point["trial"] for point in front}
    everything = {point["trial"]: point for point in [*others, *added]}
    uniform = run["uniform_int8"]
    return {
        **run,
        "front": front,
        "dominated": [point for trial, point in everything.items() if trial not in chosen],
        "baseline": everything[run["baseline"]["trial"]],
        "uniform_int8": everything[uniform["trial"]] if uniform else None,
        "fronts": {name: [point["trial"] for point in view["front"]] for name, view in views.items()},
    }


def _judged(point: Point, seen: Mapping[str, Point]) -> dict[str, Any]:
    """The point with what its limits and overlaps are on each target."""
    violations: dict[str, float] = {}
    for own in seen.values():
        violations |= {
            name: max(excess, violations.get(name, excess)) for name, excess in own["violations"].items()
        }
    names = ("feasible", "violations", "indistinguishable_from")
    targets = {
        name: {**entry, **{key: seen[name][key] for key in names}} for name, entry in point["targets"].items()
    }
    same = set.intersection(*(set(own["indistinguishable_from"]) for own in seen.values()))
    judged = {"feasible": not violations, "violations": violations, "indistinguishable_from": sorted(same)}
    return {**point, "targets": targets, **judged}


def _with_new_overlaps(point: Point, seen: Mapping[str, Mapping[int, Point]]) -> dict[str, Any]:
    """The point with the added ones among those that it cannot be told apart from."""
    found = {
        name: points[point["trial"]]["indistinguishable_from"]
        for name, points in seen.items()
        if point["trial"] in points
    }
    targets = {
        name: {**entry, "indistinguishable_from": found[name]} if name in found else entry
        for name, entry in point["targets"].items()
    }
    same = set.intersection(*(set(own) for own in found.values()))
    return {**point, "targets": targets, "indistinguishable_from": sorted(same)}


def _worst_vector(point: Point, run: Run) -> tuple[float, float, float]:
    """(normalized drop, size ratio, latency ratio), each on the target where it is worst."""
    drop, size, latency = (worst_cost(point, run, objective) for objective in ("drop", "size", "latency"))
    return drop / drop_scale_of(run), size, latency


def origin_of(point: Point, run: Run) -> Point:
    """The trial that a fine-tuned point was made of; any other point itself."""
    tuned = point.get("finetuned")
    return next(other for other in measured_points(run) if other["trial"] == tuned["of"]) if tuned else point


def _vector(point: Point, run: Run) -> tuple[float, float, float]:
    """(normalized drop, size, latency ratio), all minimized."""
    costs = costs_of(point)
    return costs["drop"] / drop_scale_of(run), costs["size"], ratio_of(point)


def _with_overlaps(run: dict[str, Any], added: set[int]) -> dict[str, Any]:
    """Says of every point which of the added ones it cannot be told apart from, and the other way round."""
    points = measured_points(run)

    def completed(point: Point) -> Point:
        known = [] if point["trial"] in added else list(point["indistinguishable_from"])
        new = [
            other["trial"]
            for other in points
            if other["trial"] != point["trial"]
            and added & {other["trial"], point["trial"]}
            and _overlap(point, other)
        ]
        return {**point, "indistinguishable_from": known + new}

    lists = {name: [completed(point) for point in run[name]] for name in ("front", "dominated")}
    single = {name: completed(run[name]) for name in ("baseline", "uniform_int8") if run[name]}
    return {**run, **lists, **single}


def _overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    one, two = ratio_interval_of(first), ratio_interval_of(second)
    if one is None or two is None:
        return False
    (low_1, high_1), (low_2, high_2) = one, two
    return bool(low_1 <= high_2 and low_2 <= high_1)
