"""summary.json: the last night and every model's trend, for scripts. Nothing here reads it again."""

from collections.abc import Sequence
from typing import Any

from ..records.event import exit_code
from ..records.model_night import ModelNight
from ..records.night import Night
from .trends import model_names, trend_of

SCHEMA_VERSION = 1  # of summary.json


def summary_json(nights: Sequence[Night]) -> dict[str, Any]:
    """The value of summary.json; `nights` are in the order of time, at least one."""
    last = nights[-1]
    return {
        "schema_version": SCHEMA_VERSION,
        "night": last.name,
        "status": last.status,
        "exit_code": exit_code(last.all_events),
        "reason": last.reason,
        "events": [event.to_json() for event in last.all_events],
        "models": [_model(model) for model in last.models],
        "trends": [trend_of(nights, name).to_json() for name in model_names(nights)],
    }


def _model(model: ModelNight) -> dict[str, Any]:
    value = model.to_json()
    names = (
        "name",
        "state",
        "run",
        "reference",
        "metric",
        "hypervolume",
        "front_size",
        "policies",
        "deployment",
    )
    return {name: value[name] for name in names} | {
        "deployment": value["deployment"],
        "picks": value["picks"],
        "checks": value["checks"],
        "in_turns": value["in_turns"],
        "changes": value["changes"],
    }
