"""Drift: what the deployed bundle's monitor logged where it is used, against what the bundle claims."""

from pathlib import Path

from ..commands import BAD_INPUT
from ..config import ModelConfig
from ..records.event import Event
from ..work import Work

COMPARED, BROKEN = 0, 4  # exit codes of `drift` after which it has printed what it saw


def drift_events(work: Work, model: ModelConfig, bundle: Path, *, version: str, target: str) -> list[Event]:
    """A regression when a claim no longer holds in use, a note when there is nothing to compare; none where
    all holds, or no logs are named.
    """
    if model.drift is None:
        return []
    where = {"model": model.name, "target": target}
    ended = work.commands.run(["drift", str(bundle), model.drift, "--json"], log=work.log(model.name))
    if ended.exit_code == BROKEN:
        broken = ", ".join(map(str, ended.last_object.get("broken", ["its claims"])))
        sentence = f"In use, what {version} claims no longer holds: {broken}."
        return [
            work.event("regression", "bad", sentence, **where, cause="what it is given, or where, changed")
        ]
    if ended.exit_code == BAD_INPUT:
        sentence = f"The logs of {version} in use could not be compared: {ended.reason}"
        return [work.event("not-checked", "note", sentence, **where)]
    if ended.exit_code != COMPARED:
        sentence = f"The logs of {version} in use were not compared: {ended.reason}"
        return [work.event("search-failed", "bad", sentence, **where)]
    return []
