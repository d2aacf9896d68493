"""Deploy: tonight's pick takes the place of what is deployed, if it is better by the margin."""

import shutil
import time
from pathlib import Path

from ...errors import RunDirectoryError, TargetUnavailable
from ...results.compare.change import change_beside
from ...results.run_files import read_run
from ..config import ModelConfig
from ..records.deployed import Deployed
from ..records.event import Event
from ..records.model_night import Deployment, ModelNight, Step
from ..records.seen import Pick
from ..telling import percent
from ..work import Work, addresses
from .beside import beside
from .comparing import QUANTITIES, artifact_of
from .deploying import new_version, of_another_model, put, remove_half_written, version_name, why_not
from .pushing import push
from .verify_step import deployed_bundles


def deploy(work: Work, model: ModelConfig, state: ModelNight) -> ModelNight:
    """The state with what is deployed now, and why. Doing it again after a kill changes nothing."""
    began = time.monotonic()
    assert state.run is not None
    remove_half_written(work.places, model.name)
    path, deployed = work.places.folder / state.run, work.places.read_deployed(model.name)
    pick = state.pick(model.policies[0].text)
    reason = why_not(model, pick, deployed, retrained=of_another_model(state.changes))
    if reason is None and pick is not None and not _already(work, pick, deployed):
        reason = _not_better(work, model, pick, path, state)
    if reason is not None or pick is None:
        current = deployed.current
        deployment = Deployment(action="kept" if current else "none", version=current, reason=f"{reason}")
        event = _event(work, model, deployment)
    else:
        _write(work, model, pick, path)
        version = new_version(work.night, state.run, pick, at=work.at)
        put(work.places, model.name, version)
        deployment = Deployment(action="deployed", version=version.name, reason=_better(pick, deployed))
        event = _event(work, model, deployment)
    pushed = push(work, model)
    step = Step(name="deploy", at=work.at, seconds=round(time.monotonic() - began, 3))
    return state.with_step(step, deployment=deployment, events=(*state.events, event, *pushed))


def _already(work: Work, pick: Pick, deployed: Deployed) -> bool:
    """Whether this night has deployed the pick, and was killed before it wrote that down."""
    return deployed.current == version_name(work.night, pick)


def _not_better(work: Work, model: ModelConfig, pick: Pick, path: Path, state: ModelNight) -> str | None:
    """Why the pick is not better than what is deployed, both measured beside each other now; None when it is,
    when latency is not what the policy minimizes, or when there is nothing to compare with.
    """
    if QUANTITIES[model.policies[0].aim] != "latency" or of_another_model(state.changes):
        return None
    run, old = read_run(path), work.places.read_deployed(model.name).version
    if old is None or old.pick.policy != pick.policy:
        return None
    for bundle in deployed_bundles(work, model):
        facts = next((one for one in run.targets if one.name == bundle.target), None)
        if facts is None or not bundle.model.is_file():
            continue
        work.say(f"{model.name}: trial {pick.trial} beside what is deployed on {bundle.target}")
        new = artifact_of(path, run, pick, bundle.target)
        try:
            ratio = beside(new, bundle.model, facts, addresses(work, model)[bundle.target], say=work.say)
        except TargetUnavailable as error:
            return f"it could not be compared with what is deployed. {error}"
        change = change_beside(ratio, model.margin)
        if change.verdict != "better" and change.interval is not None:
            return (
                f"beside what is deployed, tonight's pick differs by {percent(change.interval)} in latency "
                f"on {bundle.target}, and the margin is {100 * model.margin:g} %"
            )
    return None


def _write(work: Work, model: ModelConfig, pick: Pick, path: Path) -> None:
    """Writes the bundle of a pick among the versions, wholly or not at all. RunDirectoryError when `pick`
    fails.
    """
    versions = work.places.versions(model.name)
    whole, making = versions / version_name(work.night, pick), versions / ".making"
    if whole.is_dir():
        return
    shutil.rmtree(making, ignore_errors=True)
    versions.mkdir(parents=True, exist_ok=True)
    words = ["pick", str(path), "--trial", str(pick.trial), "--out", str(making)]
    ended = work.commands.run(words, log=work.log(model.name))
    if ended.exit_code != 0:
        raise RunDirectoryError(f"The bundle of trial {pick.trial} could not be written: {ended.reason}")
    making.rename(whole)


def _better(pick: Pick, before: Deployed) -> str:
    now = before.version
    numbers = f"{pick.ratio:.3f} × the time, {pick.size_ratio:.3f} × the size of the original"
    if now is None:
        return f"nothing was deployed before ({numbers})"
    old = f"{now.pick.ratio:.3f} × and {now.pick.size_ratio:.3f} ×"
    return f"{pick.label} has {numbers}, {now.name} had {old}"


def _event(work: Work, model: ModelConfig, deployment: Deployment) -> Event:
    if deployment.action == "deployed":
        sentence = f"{deployment.version} was deployed: {deployment.reason}."
        return work.event("deployed", "good", sentence, model=model.name)
    stays = f"{deployment.version} stays deployed" if deployment.version else "Nothing is deployed"
    return work.event("kept", "note", f"{stays}: {deployment.reason}.", model=model.name)
