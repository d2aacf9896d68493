"""Compare: what tonight's search found, against the reference night."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import RunDirectoryError, TargetUnavailable
from ...results.choosing.policy import Policy
from ...results.records.run import Run
from ...results.run_config import RunConfig
from ...results.run_files import read_run
from ..config import ModelConfig
from ..judge import beyond, whole_of
from ..records.event import Event
from ..records.model_night import ModelNight, PolicyChange, Step
from ..records.seen import EnvironmentChange, Pick
from ..telling import cause_of, told_change
from ..work import Work, addresses
from .beside import beside
from .comparing import Facts, artifact_of, changes, picked, policy_change
from .search_step import reference_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The reference night's run, as far as it is there, and what its policies picked."""

    path: Path
    facts: Facts
    night: ModelNight


def compare(work: Work, model: ModelConfig, state: ModelNight) -> ModelNight:
    """The state with the picks of tonight, what changed in the environment, and what became of each policy.

    RunDirectoryError when tonight's run is damaged, InputError when a policy does not fit the metric.
    """
    began = time.monotonic()
    assert state.run is not None
    path = work.places.folder / state.run
    now = Facts(run=read_run(path), config=RunConfig.read(path))
    reference = _reference(work, model)
    changed = changes(reference.facts, now) if reference else ()
    chosen = {policy: picked(now.run, policy) for policy in model.policies}
    picks = tuple(pick for pick in chosen.values() if pick is not None)
    events = [_missing(work, model, policy) for policy, pick in chosen.items() if pick is None]
    events += _environment_events(work, model, changed)
    compared = []
    if reference is not None:
        for policy, pick in chosen.items():
            change = _looked_at(work, model, policy, pick, reference=reference, now=(path, now.run))
            compared.append(change)
            events += _told(work, model, change, changed)
    return state.with_step(
        Step(name="compare", at=work.at, seconds=round(time.monotonic() - began, 3)),
        reference=reference_name(work, model),
        hypervolume=now.run.hypervolume,
        front_size=len(now.run.front),
        environments={
            target.name: target.environment for target in now.run.targets if target.environment is not None
        },
        changes=changed,
        picks=picks,
        policies=tuple(compared),
        events=(*state.events, *events),
    )


def reference_name(work: Work, model: ModelConfig) -> str | None:
    """The name of the reference night, None in the first one."""
    found = reference_of(work.earlier, model.name)
    return None if found is None else found[0].name


def _reference(work: Work, model: ModelConfig) -> Reference | None:
    """The reference night, None without one or when its run is gone."""
    last = reference_of(work.earlier, model.name)
    if last is None or last[1].run is None:
        return None
    path = work.places.folder / last[1].run
    try:
        facts = Facts(run=read_run(path), config=RunConfig.read(path))
    except RunDirectoryError as error:
        work.say(f"{model.name}: the reference night {last[0].name} cannot be read. {error}")
        return None
    return Reference(path=path, facts=facts, night=last[1])


def _looked_at(
    work: Work,
    model: ModelConfig,
    policy: Policy,
    pick: Pick | None,
    *,
    reference: Reference,
    now: tuple[Path, Run],
) -> PolicyChange:
    """What became of a policy; a latency that seems worse is measured again, both artifacts beside each
    other.
    """
    before = reference.night.pick(policy.text)
    change = policy_change(policy, before, pick, tolerance=work.config.tolerance, unit=quality_unit(now[1]))
    if change.verdict != "worse" or change.quantity != "latency" or pick is None or before is None:
        return change
    facts = next(target for target in now[1].targets if target.name == change.target)
    files = [
        artifact_of(path, run, one, change.target)
        for path, run, one in ((*now, pick), (reference.path, reference.facts.run, before))
    ]
    try:
        again = beside(files[0], files[1], facts, addresses(model)[change.target], say=work.say)
    except (TargetUnavailable, RunDirectoryError) as error:
        work.say(f"{model.name}: {error}")
        return replace(change, verdict="unknown")
    confirmed = beyond(again, work.config.tolerance.latency)
    return replace(change, again=again, verdict="worse" if confirmed else "same")


def quality_unit(run: Run) -> float:
    """The whole of a quality, on the target where the original's metric is largest."""
    values = [abs(one.quality.validation) for one in run.measured(run.baseline).values()]
    return whole_of(run.facts.task.metric, max(values, default=0.0))


def _missing(work: Work, model: ModelConfig, policy: Policy) -> Event:
    sentence = f"Nothing that was measured meets the policy {policy.text!r}."
    return work.event("nothing-meets", "warning", sentence, model=model.name)


def _environment_events(work: Work, model: ModelConfig, changed: Sequence[EnvironmentChange]) -> list[Event]:
    """One event for each target that is another now, and one for the task."""
    events = []
    for target in dict.fromkeys(change.target for change in changed):
        texts = ", ".join(str(change) for change in changed if change.target == target)
        what = "The environment" if target else "The task"
        sentence = f"{what} is another than in the reference night: {texts}."
        events.append(work.event("environment", "note", sentence, model=model.name, target=target))
    return events


def _told(
    work: Work, model: ModelConfig, change: PolicyChange, changed: Sequence[EnvironmentChange]
) -> list[Event]:
    if change.verdict not in ("worse", "better"):
        return []
    sentence, where = told_change(change), {"model": model.name, "target": change.target}
    if change.verdict == "better":
        return [work.event("improved", "good", sentence, **where)]
    cause = cause_of(changed, change.target)
    if not model.deploy:
        return [work.event("regression", "bad", sentence, **where, cause=cause)]
    sentence += " What is deployed is not affected."
    return [work.event("found-less", "warning", sentence, **where, cause=cause)]
