"""A night in lines for a terminal: the reasons first, then what became of each model."""

from collections.abc import Iterator

from .records.model_night import ModelNight
from .records.night import Night
from .telling import drop_words

_MARKS = {"bad": "✗", "warning": "!", "good": "✓", "note": "·"}
_STATES = {
    "waiting": "not begun",
    "running": "interrupted",
    "done": "done",
    "away": "its target is away; the same command tries again",
    "failed": "failed",
    "skipped": "no time was left",
}


def night_lines(night: Night) -> list[str]:
    """The lines; the first one says why the exit code is what it is."""
    lines = [night.reason, f"Night {night.name}, {night.status}:"]
    lines += [f"  {_MARKS[event.severity]} {event}" for event in night.events]
    for model in night.models:
        lines += _model_lines(model)
    return lines


def _model_lines(model: ModelNight) -> Iterator[str]:
    compared = f", compared with {model.reference}" if model.reference else ""
    volume = "" if model.hypervolume is None else f", hypervolume {model.hypervolume:.3f}"
    yield f"  {model.name}: {_STATES[model.state]}{compared}{volume}"
    for pick in model.picks:
        drop = drop_words(pick.drop, model.metric)
        numbers = f"{pick.ratio:.3f} × time, {pick.size_ratio:.3f} × size, drop {drop}"
        yield f"    {pick.policy}: {pick.label}, {numbers}"
    for event in model.events:
        yield f"    {_MARKS[event.severity]} {event}"
