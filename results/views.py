"""A run with several targets as one of them sees it: a run with one target, for everything that reads
front.json.
"""

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from .formats import Point, Run
from .pick import limits_of, measured_points, nearest_misses

_OWN_ENTRIES = frozenset(
    {"environment", "constraints"}
)  # of a target's facts; in a run with one target they stand beside them
_MISSES = 5


def targets_of(run: Run) -> list[str]:
    """The names of the run's targets, the primary one first."""
    return [target["name"] for target in run.get("targets", [run["target"]])]


def has_several(run: Run) -> bool:
    """Whether the run has more than one target."""
    return "targets" in run


def run_on(run: Run, target: str | None) -> dict[str, Any]:
    """The run as a search for this target alone would have written it, without what is missing there.

    None is the only target, or else the primary one. InputError for a name that is none of the run's targets.
    """
    if target is None and not has_several(run):
        return dict(run)
    names = targets_of(run)
    if target is not None and target not in names:
        choices = " or ".join(map(repr, names))
        raise InputError(f"The run has no target {target!r}: choose {choices}.")
    if not has_several(run):
        return dict(run)
    name = target or names[0]
    facts = next(item for item in run["targets"] if item["name"] == name)
    seen = {
        point["trial"]: point_on(point, name) for point in measured_points(run) if is_measured_on(point, name)
    }
    front = [seen[trial] for trial in run["fronts"][name]]
    uniform = run["uniform_int8"]
    view = {
        **{key: value for key, value in run.items() if key not in ("targets", "fronts")},
        "target": {key: value for key, value in facts.items() if key not in _OWN_ENTRIES},
        **{key: facts[key] for key in _OWN_ENTRIES},
        "baseline": seen[run["baseline"]["trial"]],
        "uniform_int8": seen.get(uniform["trial"]) if uniform else None,
        "front": front,
        "dominated": [point for trial, point in sorted(seen.items()) if trial not in run["fronts"][name]],
    }
    misses = [] if front else nearest_misses(view, limits_of(view), count=_MISSES)
    return {
        **view,
        "nearest_misses": [
            {"trial": miss.point["trial"], "violations": dict(miss.excess)} for miss in misses
        ],
    }


def views_of(run: Run) -> Sequence[dict[str, Any]]:
    """The run as each of its targets sees it."""
    return [run_on(run, name) for name in targets_of(run)]


def is_measured_on(point: Point, target: str) -> bool:
    """Whether the point of a run with several targets has a latency on this one."""
    return point["targets"][target]["latency"] is not None


def point_on(point: Point, target: str) -> dict[str, Any]:
    """The point with what this target says of it."""
    own = {key: value for key, value in point.items() if key != "targets"}
    return {**own, **point["targets"][target]}


def point_of(run: Run, trial: int) -> Point:
    """The point of a trial. KeyError when it was not measured."""
    return {point["trial"]: point for point in measured_points(run)}[trial]
