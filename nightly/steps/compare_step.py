"""Compare: what tonight's search found, against the reference night."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import RunDirectoryError, TargetUnavailable
from ...results.choosing.policy import Policy
from ...results.compare.change import change_beside
from ...results.compare.fronts import hypervolume_change
from ...results.records.facts import MetricFacts
from ...results.records.run import Run
from ...results.run_config import RunConfig
from ...results.run_files import read_run
from ...results.view import RunOn
from ..config import ModelConfig
from ..records.event import Event
from ..records.model_night import ModelNight, PolicyChange, Step
from ..records.seen import EnvironmentChange, Pick
from ..telling import cause_of, told_change
from ..work import Work, addresses
from .beside import beside
from .comparing import Facts, artifact_of, changes, pick_of, picked, policy_change
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
            events += _told(work, model, change, changed, now.run.facts.task.metric)
        events += _hypervolume_events(work, model, reference.facts, now, changed)
    return state.with_step(
        Step(name="compare", at=work.at, seconds=round(time.monotonic() - began, 3)),
        reference=reference_name(work, model),
        metric=now.run.facts.task.metric,
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
    choice = policy.choose(reference.facts.run)
    before = None if choice is None else pick_of(reference.facts.run, choice.point, policy.text)
    change = policy_change(policy, reference.facts.run, now[1], work.config.tolerance)
    if change.verdict != "worse" or change.quantity != "latency" or pick is None or before is None:
        return change
    facts = next(target for target in now[1].targets if target.name == change.target)
    files = [
        artifact_of(path, run, one, change.target)
        for path, run, one in ((*now, pick), (reference.path, reference.facts.run, before))
    ]
    try:
        again = beside(files[0], files[1], facts, addresses(work, model)[change.target], say=work.say)
    except (TargetUnavailable, RunDirectoryError) as error:
        work.say(f"{model.name}: {error}")
        return replace(change, verdict="unknown")
    looked = change_beside(again, work.config.tolerance.latency)
    if looked.verdict == "worse":
        return replace(change, again=looked.interval)
    reason = "it was not slower when both were measured beside each other"
    return replace(change, again=looked.interval, verdict="same", reason=reason)


def _hypervolume_events(
    work: Work, model: ModelConfig, before: Facts, now: Facts, changed: Sequence[EnvironmentChange]
) -> list[Event]:
    """For each target a warning where the search as a whole found less, beyond the spread of both runs'
    measurements and the tolerance. It is no regression: what is used is the policies' picks.
    """
    events = []
    for name in [name for name in now.run.target_names if name in before.run.target_names]:
        volume = hypervolume_change(RunOn.of(before.run, name), RunOn.of(now.run, name))
        if volume.drop_scale is None or not volume.lost(work.config.tolerance.hypervolume):
            continue
        sentence = (
            f"The hypervolume of what the search found is {volume.new:.3f} instead of {volume.old:.3f}, and "
            f"the spread of the measurements alone makes ±{volume.half_width:.3f}."
        )
        cause = cause_of(changed, name)
        events.append(
            work.event("found-less", "warning", sentence, model=model.name, target=name, cause=cause)
        )
    return events


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
    work: Work,
    model: ModelConfig,
    change: PolicyChange,
    changed: Sequence[EnvironmentChange],
    metric: MetricFacts,
) -> list[Event]:
    if change.verdict not in ("worse", "better"):
        return []
    sentence, where = told_change(change, metric), {"model": model.name, "target": change.target}
    if change.verdict == "better":
        return [work.event("improved", "good", sentence, **where)]
    cause = cause_of(changed, change.target)
    if not model.deploy:
        return [work.event("regression", "bad", sentence, **where, cause=cause)]
    sentence += " What is deployed is not affected."
    return [work.event("found-less", "warning", sentence, **where, cause=cause)]
