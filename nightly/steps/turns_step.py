"""In turns: the artifact that is deployed, in the runtime of the reference night against today's where that
changed, and in the next version beforehand.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import TargetUnavailable
from ...profiles.sizes import Sizes
from ...results.compare.differences import NOT_SET
from ...results.run_files import read_run
from ..config import ModelConfig
from ..records.event import Event
from ..records.model_night import ModelNight, Step
from ..records.seen import EnvironmentChange, InTurns
from ..telling import told_turns
from ..work import Work, addresses
from .in_turns import Setting
from .other_runtimes import PACKAGES, Compared, in_turns, installed, not_compared, python_with, version_in
from .verify_step import deployed_bundles

_UNSURE = 0.05  # a slow-down that the interval does not rule out, of which people should know


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An artifact that is looked at on a target: what is deployed there, or tonight's pick."""

    target: str
    runtime: str
    model: Path
    batch: int
    sizes: Sizes | None


def turns(work: Work, model: ModelConfig, state: ModelNight) -> ModelNight:
    """The state with what other versions and settings of the runtimes do to the artifact."""
    began = time.monotonic()
    seen = [
        one for subject in _subjects(work, model, state) for one in _compared(work, model, subject, state)
    ]
    events = [_told(work, model, one) for one in seen]
    step = Step(name="in turns", at=work.at, seconds=round(time.monotonic() - began, 3))
    return state.with_step(step, in_turns=tuple(seen), events=(*state.events, *events))


def _subjects(work: Work, model: ModelConfig, state: ModelNight) -> Iterator[Subject]:
    bundles = deployed_bundles(work, model)
    for bundle in bundles:
        manifest = bundle.manifest
        if manifest is not None and bundle.model.is_file():
            facts = manifest.target
            yield Subject(
                target=bundle.target,
                runtime=facts.runtime,
                model=bundle.model,
                batch=facts.batch,
                sizes=facts.sizes,
            )
    if not bundles and state.picks and state.run is not None:
        path = work.places.folder / state.run
        run = read_run(path)
        for facts in run.targets:
            artifact = run.point(state.picks[0].trial).measured[facts.name].artifact
            yield Subject(
                target=facts.name,
                runtime=facts.runtime,
                model=path / artifact.file,
                batch=facts.batch,
                sizes=facts.sizes,
            )


def _compared(work: Work, model: ModelConfig, subject: Subject, state: ModelNight) -> Iterator[InTurns]:
    there = [change for change in state.changes if change.target == subject.target]
    for change in there:
        if change.what == "runtime version":
            yield _upgrade(work, model, subject, change)
    options = [change for change in there if change.kind == "option"]
    if options:
        yield _options(work, model, subject, options)
    wanted = work.config.canary.get(subject.runtime)
    if wanted is not None:
        yield from _canary(work, model, subject, wanted)


def _as(reason: str, work: Work, model: ModelConfig, subject: Subject) -> Compared:
    return Compared(
        reason=reason,
        package=subject.runtime,
        target=subject.target,
        address=addresses(work, model)[subject.target],
        model=subject.model,
        batch=subject.batch,
        sizes=subject.sizes,
    )


def _upgrade(work: Work, model: ModelConfig, subject: Subject, change: EnvironmentChange) -> InTurns:
    """The version of the reference night against the one that is installed now."""
    compared, versions = _as("upgrade", work, model, subject), (change.before, change.now)
    if subject.runtime not in PACKAGES:
        reason = f"{subject.runtime} is no package that pip could install a second time here."
        return not_compared(compared, versions, reason)
    work.say(f"{model.name}: {subject.runtime} {change.before} against {change.now} on {subject.target}")
    try:
        python = python_with(work.places.canaries, subject.runtime, change.before, log=work.log(model.name))
    except TargetUnavailable as error:
        return not_compared(compared, versions, str(error))
    old = Setting(python=str(python))
    return in_turns(compared, old, Setting(), work.config.tolerance, versions=versions)


def _options(
    work: Work, model: ModelConfig, subject: Subject, options: Sequence[EnvironmentChange]
) -> InTurns:
    """The session options of the reference night against those of now."""
    texts = [
        ", ".join(f"{one.what} = {value}" for one, value in zip(options, values, strict=True))
        for values in ([one.before for one in options], [one.now for one in options])
    ]
    before = {one.what: one.before for one in options if one.before != NOT_SET}
    removed = {one.what for one in options}
    work.say(f"{model.name}: {texts[0]} against {texts[1]} on {subject.target}")
    old = Setting(changed=before, removed=frozenset(removed))
    return in_turns(
        _as("upgrade", work, model, subject),
        old,
        Setting(),
        work.config.tolerance,
        versions=(texts[0], texts[1]),
    )


def _canary(work: Work, model: ModelConfig, subject: Subject, wanted: str) -> Iterator[InTurns]:
    """The installed version against the next one; nothing where that is the installed one."""
    compared, ours = _as("canary", work, model, subject), installed(subject.runtime)
    try:
        python = python_with(work.places.canaries, subject.runtime, wanted, log=work.log(model.name))
        next_version = version_in(python, subject.runtime)
    except TargetUnavailable as error:
        yield not_compared(compared, (ours, wanted), str(error))
        return
    if next_version == ours:
        work.say(f"{model.name}: {subject.runtime} {ours} is the next version already")
        return
    work.say(f"{model.name}: {subject.runtime} {ours} against {next_version} on {subject.target}")
    new = Setting(python=str(python))
    yield in_turns(compared, Setting(), new, work.config.tolerance, versions=(ours, next_version))


def _told(work: Work, model: ModelConfig, seen: InTurns) -> Event:
    where, sentence = {"model": model.name, "target": seen.target}, told_turns(seen)
    if seen.reason == "canary":
        if seen.worse:
            return work.event("canary", "warning", f"{sentence} Do not upgrade yet.", **where)
        return work.event("canary", "note", sentence, **where)
    if seen.failure is not None:
        return work.event("not-checked", "warning", sentence, **where)
    if not seen.worse and seen.ratio_interval and seen.ratio_interval[1] > 1 + _UNSURE:
        sentence += " The machine was too restless to tell more."
        return work.event("not-checked", "warning", sentence, **where)
    if not seen.worse:
        return work.event("environment", "note", sentence, **where)
    cause = f"{seen.package} {seen.old} → {seen.new}"
    return work.event("regression", "bad", sentence, **where, cause=cause)
