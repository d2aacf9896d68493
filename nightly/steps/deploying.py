"""What is deployed: a link to a bundle, its versions, and when a new one takes its place.

`deployed/MODEL` is a link, replaced by a rename: whoever opens it gets the old bundle or the new one, whole.
The bundles stay in `deployed/.versions/MODEL/`.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import InputError
from ..config import ModelConfig
from ..places import Places
from ..records.deployed import Deployed, Version
from ..records.seen import EnvironmentChange, Pick
from .comparing import QUANTITIES, largest


def version_name(night: str, pick: Pick) -> str:
    """What the bundle of a night's pick is called."""
    return f"{night}-trial{pick.trial}"


def of_another_model(changes: Sequence[EnvironmentChange]) -> bool:
    """Whether the original is another than in the reference night: what is deployed was made of the old
    one.
    """
    return any(change.kind == "original" for change in changes)


def why_not(
    model: ModelConfig, pick: Pick | None, deployed: Deployed, *, retrained: bool = False
) -> str | None:
    """Why tonight's pick of the deployment policy is not deployed, by its numbers alone; None when it may be.

    A pick is better when what its policy minimizes is better by the margin; latencies are compared once more
    beside each other before it counts. Of a model that was trained anew any pick is better.
    """
    if not model.deploy:
        return "nightly.toml says deploy = false"
    if pick is None or pick.original:
        return f"no compressed point meets {model.policies[0].text!r} and is no slower than the original"
    if _digest(pick) in deployed.refused:
        return "somebody rolled back from tonight's pick"
    now = deployed.version
    if now is not None and now.digest == _digest(pick):
        return "tonight's pick is the artifact that is deployed"
    if now is None or retrained or now.pick.policy != pick.policy:
        return None
    return _within_margin(model, now.pick, pick)


def _within_margin(model: ModelConfig, now: Pick, pick: Pick) -> str | None:
    """That the pick is not better than the deployed one by the margin; None when it is."""
    quantity = QUANTITIES[model.policies[0].aim]
    before, after = largest(now, quantity), largest(pick, quantity)
    if model.policies[0].aim == "drop":
        better = before - after > model.margin
        return None if better else f"tonight's pick loses {after:.4g}, the deployed one {before:.4g}"
    if after < before * (1 - model.margin):
        return None
    change = 100 * (1 - after / before)
    words = f"better by {change:.1f} %" if change > 0 else "not better"
    return f"tonight's pick is {words}, and the margin is {100 * model.margin:g} %"


def _digest(pick: Pick) -> str:
    return next(iter(pick.targets.values())).digest


def put(places: Places, model: str, version: Version) -> Deployed:
    """What is deployed after `version`, whose bundle is written, took its place. Doing it again changes
    nothing.
    """
    deployed = places.read_deployed(model).with_version(version)
    _lead(places, model, version.name)
    places.write_deployed(deployed)
    return deployed


def new_version(night: str, run: str, pick: Pick, *, at: str) -> Version:
    """The version of a night's pick."""
    return Version(
        name=version_name(night, pick), night=night, run=run, digest=_digest(pick), pick=pick, at=at
    )


def roll_back(places: Places, model: str, to: str | None) -> Deployed:
    """What is deployed after a step back to the version before, or to the one that is named. The artifact
    that was deployed is never deployed again by a night. InputError when there is nothing to go back to.
    """
    deployed = places.read_deployed(model)
    if deployed.version is None:
        raise InputError(f"Nothing of the model {model!r} is deployed in {places.deployed}.")
    names = [version.name for version in deployed.versions]
    wanted = deployed.earlier if to is None else next((v for v in deployed.versions if v.name == to), None)
    if wanted is None:
        known = f"the versions are {', '.join(names)}" if to else "there is no earlier version"
        raise InputError(f"{model} cannot be rolled back{f' to {to!r}' if to else ''}: {known}.")
    if wanted.name == deployed.current:
        raise InputError(f"{model} is at {wanted.name} already: the versions are {', '.join(names)}.")
    if not (places.versions(model) / wanted.name).is_dir():
        raise InputError(f"The bundle {places.versions(model) / wanted.name} is gone: name another version.")
    after = deployed.rolled_back(wanted)
    _lead(places, model, wanted.name)
    places.write_deployed(after)
    return after


def _lead(places: Places, model: str, version: str) -> None:
    """Makes the link of a model lead to a version, at once."""
    link, temporary = places.link(model), places.deployed / f".{model}.{os.getpid()}.link"
    if link.exists() and not link.is_symlink():
        raise InputError(f"{link} is no link of ours: move it away, so that a bundle can be deployed there.")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(Path(".versions") / model / version)
    temporary.replace(link)


def remove_half_written(places: Places, model: str) -> None:
    """Removes links that a killed process did not rename."""
    for path in places.deployed.glob(f".{model}.*.link"):
        path.unlink(missing_ok=True)


def remove_versions(places: Places, model: str, *, keep: int) -> list[Path]:
    """Removes the oldest bundles beyond `keep`, never the current one and the one before it, and returns
    them.
    """
    deployed = places.read_deployed(model)
    needed = {deployed.current, deployed.earlier.name if deployed.earlier else None}
    gone = [one for one in deployed.versions[:-keep] if one.name not in needed]
    left = tuple(one for one in deployed.versions if one not in gone)
    if not gone:
        return []
    places.write_deployed(replace(deployed, versions=left))
    paths = [places.versions(model) / one.name for one in gone]
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
    return paths
