"""`autocompress verify RUN`: measures the run's targets, or others, one after the other.

What is measured is in verify-unfinished.json (unfinished.py) until every target is through, so that the same
command goes on after an interruption, and where a target was away. verify.json is then replaced as a whole,
and the report shows it.

This process holds the run's lock meanwhile: no search, no other `verify` and no `pick --finetune` works on
the run beside it.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError, RunDirectoryError, TargetUnavailable
from ..evaluation.targets import NamedTarget
from ..files import digest_of, user_key
from ..profiles import FINALIST_TIMING, TimingConfig
from ..results.records.verification import AwayTarget, TargetVerification, Verification
from ..results.run_directory import RunConfig, RunDirectory, read_run, write_verification
from ..targets.held_clocks import ClocksOfTargets
from ..targets.store import MeasurementStore
from .asked_targets import asked_targets
from .given_task import GivenTask
from .scoring import Scoring, scoring_of
from .unfinished import STORE, Unfinished, now, remove
from .verify import Say, Stated, usable_target

_NOT_MEASURED = (
    "Target '{name}' has measured nothing yet, and is not verified: the search's command catches it up."
)


def verify_run(
    path: Path,
    target: str | None,
    *,
    folder: Path,
    say: Say,
    note: Say,
    task: GivenTask | None = None,
    timing: TimingConfig = FINALIST_TIMING,
    clocks: ClocksOfTargets | None = None,
) -> Verification:
    """What was measured; it is written to verify.json. `target` None means all targets of the run that are
    ours and on this machine (asked_targets.py); `task` is the one that the user gives (given_task.py);
    `folder` for temporary files, `clocks` for --set-clocks.

    Targets that cannot be used, are lost, or must be given are left out and named. InputError when the
    run, its files or a target's name are wrong, or somebody else works on the run; TargetUnavailable when no
    target is left. What was measured is kept.
    """
    _require_run(path)  # before anything is written to what is no run
    with RunDirectory.hold(path, by="verify"):
        run = read_run(path)
        asked, not_given = asked_targets(path, run, target)
        for name in run.facts.target_names:
            if target is None and name not in run.target_names:
                note(_NOT_MEASURED.format(name=name))
        stated = {one.profile.name: Stated.of(path, run, one.profile.name) for one in asked}
        scoring = scoring_of(run.facts.task, task, folder, identity=_identity(path))
        for text in scoring.notes:
            note(text)
        visit = _Visit(
            path=path,
            scoring=scoring,
            timing=timing,
            say=say,
            note=note,
            clocks=clocks,
            unfinished=Unfinished.open(path, [_mine(path), *(_asked(one) for one in asked)]),
        )
        verification = _verified(visit, asked, stated)
        if not verification.away:
            remove(path)
        verification = replace(verification, away=(*verification.away, *not_given))
        write_verification(path, verification)
        return verification


def _verified(visit: "_Visit", asked: Sequence[NamedTarget], stated: Mapping[str, Stated]) -> Verification:
    """What was measured on the targets. TargetUnavailable when none can be used."""
    measured: list[TargetVerification] = []
    away: list[AwayTarget] = []
    for one in asked:
        name = one.profile.name
        try:
            measured.append(visit.target(one, stated[name]))
        except TargetUnavailable as error:
            away.append(AwayTarget(name=name, address=str(one.address), reason=str(error)))
    if not measured:
        raise TargetUnavailable(" ".join(target.reason for target in away))
    return Verification(at=now(), targets=tuple(measured), away=tuple(away))


def _mine(path: Path) -> str:
    """What only this user knows of this folder: an unfinished `verify` of somebody else is not continued."""
    return digest_of([user_key(), str(path.resolve())])


def _asked(target: NamedTarget) -> str:
    return f"{target.profile.name} {target.address}"


def _identity(path: Path) -> Mapping[str, str]:
    """The identity of run.toml, empty when it cannot be read."""
    try:
        return RunConfig.read(path).identity
    except RunDirectoryError:
        return {}


def _require_run(path: Path) -> None:
    """RunDirectoryError or InputError when `path` holds no run that has a result."""
    bundles = sorted(file.parent for file in path.glob("*/manifest.json"))
    if bundles and not (path / "front.json").is_file():
        raise InputError(
            f"{path} holds the bundles of several targets: verify them one after the other, like "
            f"{bundles[0]}."
        )
    read_run(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """What all targets of a call share."""

    path: Path
    scoring: Scoring
    timing: TimingConfig
    say: Say
    note: Say
    clocks: ClocksOfTargets | None
    unfinished: Unfinished

    def target(self, named: NamedTarget, stated: Stated) -> TargetVerification:
        """What was measured on one target. TargetUnavailable when it cannot be used or is lost before all of
        its points are measured.
        """
        name, scoring = named.profile.name, self.scoring
        self.say(f"asking the target {name}")
        if self.clocks is not None:
            named = replace(named, clocks=self.clocks.of(named.profile, named.address))
        named = replace(named, sizes=stated.view.target.sizes)
        timing = self.timing.with_batch(stated.view.target.batch)
        key = digest_of([named.profile.fingerprint, scoring.scorer and scoring.scorer.digest, timing.batch])
        try:
            target = usable_target(named, MeasurementStore(self.path / STORE), inputs=scoring.inputs)
        except TargetUnavailable:
            measured = self.unfinished.complete(name, key, stated.digests)
            if measured is None:
                raise
            return stated.compared(measured, named, scoring)
        with closing(target):
            measured = self.unfinished.target(name, key, target.probe())
            for more in stated.measure(
                target, measured, scorer=scoring.scorer, timing=timing, say=self.say, note=self.note
            ):
                measured = more
                self.unfinished.keep(name, measured)
            return stated.compared(measured, named, scoring)
