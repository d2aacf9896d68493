"""What each target says of a point, in the entry `targets` of its record in front.json; only runs with
several targets have it.

An entry has the keys of a point that depend on the target, so that `{**point, **entry}` is the point as a
search for that target alone would have written it. `layers` are left out where they are those of the point. A
candidate that has no latency there has `latency` None, and `missing` says why.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..results.evaluation import Evaluation
    from .result import Result

OF_TARGET = (
    *(
        "artifact",
        "quality",
        "drop",
        "latency",
        "feasible",
        "violations",
        "indistinguishable_from",
        "finalist",
    ),
    *("layers", "other_time_s", "warnings"),
)


def join_targets(result: "Result", made: Mapping[int, dict[str, Any]]) -> dict[str, list[int]]:
    """Adds `targets` to the points by trial; by target, the trials on its own front. Nothing happens with one
    target.
    """
    if not result.further:
        return {}
    fronts: dict[str, list[int]] = {}
    entries: dict[str, dict[int, dict[str, Any]]] = {}
    for target, alone in result.by_target().items():
        fronts[target] = [item.trial for item in alone.front()]
        entries[target] = alone.points_by_trial()
    for evaluation in result.evaluations:
        point = made[evaluation.trial]
        point["targets"] = {
            target: _entry(found[evaluation.trial], point)
            if evaluation.trial in found
            else _missing(evaluation, target)
            for target, found in entries.items()  # without targets that are away still
        }
        lists = [
            set(entry["indistinguishable_from"]) for entry in point["targets"].values() if entry["latency"]
        ]
        point["indistinguishable_from"] = sorted(set.intersection(*lists))
    return fronts


def _entry(found: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in OF_TARGET if name != "layers" or found[name] != point[name]}


def _missing(evaluation: "Evaluation", target: str) -> dict[str, Any]:
    seen = evaluation.further[target]
    assert seen.failure is not None
    return {
        "artifact": asdict(seen.artifact),
        "latency": None,
        "drop": seen.drop,
        "missing": seen.failure.message,
    }
