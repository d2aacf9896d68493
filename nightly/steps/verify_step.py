"""Verify: the bundle that is deployed, on each of its targets, twice where it seems worse; and what it logged
in use.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from ...profiles.address import folder_name
from ...results.records.facts import MetricFacts
from ...results.records.manifest import Manifest
from ...results.run_files import read_record
from ..commands import UNAVAILABLE
from ..config import ModelConfig
from ..records.event import Event
from ..records.model_night import ModelNight, Step
from ..records.seen import Check
from ..telling import cause_of
from ..work import Work, addresses, task_words
from .in_use import drift_events
from .verifying import judged, read_check, with_reference

_UNKNOWN_METRIC = MetricFacts(name="quality", direction="higher", unit="fraction")
COMPARED, REGRESSED = 0, 4  # exit codes of `verify` after which it has printed what it saw


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The deployed bundle of a model for one target. `several`: the model has one for each of its targets."""

    folder: Path
    target: str
    version: str

    @property
    def model(self) -> Path:
        """The artifact."""
        manifest = self.manifest
        return self.folder / ("model.onnx" if manifest is None else manifest.model.file)

    @property
    def manifest(self) -> Manifest | None:
        """What it says of itself; None when it is gone. RunDirectoryError when it is damaged."""
        return read_record(self.folder / "manifest.json", Manifest.from_json, remedy="roll back")


def deployed_bundles(work: Work, model: ModelConfig) -> tuple[Bundle, ...]:
    """The deployed bundles of a model, one for each target that it has one for; none before the first."""
    version = work.places.read_deployed(model.name).version
    if version is None:
        return ()
    folder, targets = work.places.versions(model.name) / version.name, tuple(version.pick.targets)
    return tuple(
        Bundle(
            folder=folder / folder_name(target) if len(targets) > 1 else folder,
            target=target,
            version=version.name,
        )
        for target in targets
        if target in addresses(work, model)
    )


def verify(work: Work, model: ModelConfig, state: ModelNight) -> ModelNight:
    """The state with what the deployed bundle does tonight. Where a target is away it is `away`, and the step
    is not done.
    """
    began, checks, events = time.monotonic(), [], []
    for bundle in deployed_bundles(work, model):
        work.say(f"{model.name}: verifying {bundle.version} on {bundle.target}")
        check, away = _looked_at(work, model, bundle)
        if away:
            sentence = f"What is deployed could not be verified. {away}"
            event = work.event("target-away", "bad", sentence, model=model.name, target=bundle.target)
            return replace(state, state="away", events=(*state.events, event))
        checks.append(check)
        events += _told(work, model, check, state)
        events += drift_events(work, model, bundle.folder, version=bundle.version, target=bundle.target)
    step = Step(name="verify", at=work.at, seconds=round(time.monotonic() - began, 3))
    return state.with_step(step, checks=tuple(checks), events=(*state.events, *events))


def _looked_at(work: Work, model: ModelConfig, bundle: Bundle) -> tuple[Check, str]:
    """The check of a bundle, the second one where the first found something worse; and why its target cannot
    be used, empty when it can.
    """
    check, away = _look(work, model, bundle)
    if away or not check.regressed:
        return check, away
    return _look(work, model, bundle)


def _look(work: Work, model: ModelConfig, bundle: Bundle) -> tuple[Check, str]:
    words = ["verify", str(bundle.folder), "--target", addresses(work, model)[bundle.target]]
    words += [*task_words(model, option=True), "--json"]
    ended = work.commands.run(words, log=work.log(model.name))
    if ended.exit_code == UNAVAILABLE:
        return Check(target=bundle.target, version=bundle.version, failure=ended.reason), ended.reason
    if ended.exit_code not in (COMPARED, REGRESSED):
        failed = Check(target=bundle.target, version=bundle.version, failure=ended.reason)
        return _judged(work, bundle, failed), ""
    check = read_check(ended.last_object, target=bundle.target, version=bundle.version)
    check = with_reference(check, work.earlier, model.name)
    return _judged(work, bundle, check), ""


def _judged(work: Work, bundle: Bundle, check: Check) -> Check:
    """The check with what is worse, by the metric of the bundle's task."""
    manifest = bundle.manifest
    if manifest is None:  # nothing states a quality then
        return judged(check, work.config.tolerance, _UNKNOWN_METRIC, 1.0)
    return judged(check, work.config.tolerance, manifest.task.metric, manifest.original.validation)


def _told(work: Work, model: ModelConfig, check: Check, state: ModelNight) -> list[Event]:
    """What people should know of a check."""
    where = {"model": model.name, "target": check.target}
    if check.regressed:
        words = "; ".join(check.regressed)
        sentence = f"What is deployed ({check.version}) got worse: {words}."
        cause = cause_of(state.changes, check.target)
        if check.task_differs:
            cause = ", ".join(filter(None, (f"the task has {check.task_differs}", cause)))
        return [work.event("regression", "bad", sentence, **where, cause=cause)]
    skipped = [text for text in (check.not_compared, check.quality_not_verified) if text]
    if skipped:
        sentence = f"Not everything of what is deployed could be compared: {'; '.join(skipped)}"
        return [work.event("not-checked", "note", sentence, **where)]
    return []
