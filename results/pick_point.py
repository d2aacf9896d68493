"""Picking a point of any run: by the limits of its target, or jointly by those of all its targets."""

from collections.abc import Mapping

from .formats import Point, Run
from .limits import Constraints, Limits
from .pick import Objective, pick
from .pick_joint import pick_jointly
from .views import has_several, point_on


def resolved(run: Run, constraints: Mapping[str, Constraints]) -> dict[str, Limits]:
    """By target, the limits in the metric's unit, seconds and bytes. InputError for a percentage of a
    baseline of 0.
    """
    baseline = run["baseline"]
    seen = {name: point_on(baseline, name) if has_several(run) else baseline for name in constraints}
    return {name: own.limits(seen[name]["quality"]["validation"]) for name, own in constraints.items()}


def picked(run: Run, limits: Mapping[str, Limits], *, minimize: Objective = "latency") -> Point:
    """The point with the least `minimize` within the limits, on every target if there are several. Raises
    NothingMeets.
    """
    if has_several(run):
        return pick_jointly(run, limits, minimize=minimize)
    (own,) = limits.values()
    return pick(run, max_drop=own.drop, max_latency=own.latency_s, max_size=own.size_bytes, minimize=minimize)
