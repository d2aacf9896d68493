"""`autocompress verify RUN`: measures the run's targets, or others, one after the other.

What is measured is in verify-unfinished.json (unfinished.py) until every target is through, so that the same
command goes on after an interruption, and where a target was away. verify.json is then replaced as a whole,
and the report shows it.

This process holds the run's lock meanwhile: no search, no other `verify` and no `pick --finetune` works on
the run beside it.
"""

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError, TargetUnavailable
from ..evaluation.targets import NamedTarget, named_targets
from ..files import digest_of
from ..profiles import FINALIST_TIMING, TargetAddress, TimingConfig
from ..results.records.run import Run
from ..results.records.verification import AwayTarget, TargetVerification, Verification
from ..results.run_directory import RunDirectory, read_run, write_verification
from ..results.target_limits import target_addresses
from ..targets.held_clocks import ClocksOfTargets
from ..targets.store import MeasurementStore
from .unfinished import STORE, Unfinished, now, remove
from .verify import Say, Scorer, Stated, scorer_or_reason, usable_target

_NO_TASK = "Note: the task cannot be loaded here, so that only latency is verified, with random inputs."


def verify_run(
    path: Path,
    target: str | None,
    *,
    folder: Path,
    say: Say,
    note: Say,
    timing: TimingConfig = FINALIST_TIMING,
    clocks: ClocksOfTargets | None = None,
) -> Verification:
    """What was measured; it is written to verify.json. `target` None means all targets of the
    run; `folder` for
    temporary files, `clocks` for --set-clocks.

    Targets that cannot be used, or are lost, are left out and named. InputError when the
    run, its files or a target's name are wrong, or somebody else works on the run; TargetUnavailable when no
    target is left. What was measured is kept.
    """
    _require_run(path)  # before anything is written to what is no run
    with RunDirectory.hold(path, by="verify"):
        run = read_run(path)
        asked = asked_targets(path, run, target, note=note)
        stated = {one.profile.name: Stated.of(path, run, one.profile.name) for one in asked}
        scorer, reason = scorer_or_reason(run.facts.task, folder)
        if reason:
            note(f"{_NO_TASK} {reason}")
        visit = _Visit(
            path=path,
            scorer=scorer,
            reason=reason,
            timing=timing,
            say=say,
            clocks=clocks,
            unfinished=Unfinished.open(path, [f"{one.profile.name} {one.address}" for one in asked]),
        )
        verification = _verified(visit, asked, stated)
        write_verification(path, verification)
        if not verification.away:
            remove(path)
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


def _require_run(path: Path) -> None:
    """RunDirectoryError or InputError when `path` holds no run that has a result."""
    bundles = sorted(file.parent for file in path.glob("*/manifest.json"))
    if bundles and not (path / "front.json").is_file():
        raise InputError(
            f"{path} holds the bundles of several targets: verify them one after the other, like "
            f"{bundles[0]}."
        )
    read_run(path)


def asked_targets(path: Path, run: Run, text: str | None, *, note: Say) -> list[NamedTarget]:
    """The targets of `--target`, or the run's own, as the run calls them. InputError or ProfileError says
    what is wrong with one.

    A name that the run uses is the run's target at its address, and so is the same profile at the same place.
    """
    addresses = _addresses_of(path, run)
    if text is None:
        measured = {name: address for name, address in addresses.items() if name in run.target_names}
        for name in addresses.keys() - measured.keys():
            note(
                f"Target '{name}' has measured nothing yet, and is not verified: the search's command "
                "catches it up."
            )
        return _loaded(measured, addresses)
    asked: dict[str, TargetAddress] = {}
    for name, address in target_addresses(text).items():
        same = (key for key, other in addresses.items() if _place(other) == _place(address))
        if name in addresses:
            called = name
        else:
            called = str(address) if str(address) in addresses else next(same, name)
        if called in asked:
            raise InputError(f"--target {text!r} names {called!r} twice: give each target once.")
        asked[called] = addresses[called] if str(address) in addresses else address
    return _loaded(asked, addresses)


def _loaded(asked: Mapping[str, TargetAddress], of_run: Mapping[str, TargetAddress]) -> list[NamedTarget]:
    """The targets. InputError when a TOML file of the search is not found: its path is relative to the
    folder in which the search was started.
    """
    for address in asked.values():
        if (
            address in of_run.values()
            and address.profile.endswith(".toml")
            and not Path(address.profile).is_file()
        ):
            raise InputError(
                f"The run's target {address.profile} is not found from here: go to the folder in which the "
                f"search was started, or say where it is: --target path/{Path(str(address)).name}."
            )
    return list(named_targets(asked))


def _place(address: TargetAddress) -> tuple[str, str | None, int | None]:
    return address.name, address.host, address.port


def _addresses_of(path: Path, run: Run) -> dict[str, TargetAddress]:
    """The run's targets as written on the command line; only their names when run.toml does not hold them."""
    try:
        text = str(tomllib.loads((path / "run.toml").read_text(encoding="utf-8"))["options"]["target"])
    except (OSError, KeyError, ValueError):
        text = ",".join(run.target_names)
    return target_addresses(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """What all targets of a call share."""

    path: Path
    scorer: Scorer | None
    reason: str
    timing: TimingConfig
    say: Say
    clocks: ClocksOfTargets | None
    unfinished: Unfinished

    def target(self, named: NamedTarget, stated: Stated) -> TargetVerification:
        """What was measured on one target. TargetUnavailable when it cannot be used or is lost before all of
        its points are measured.
        """
        name, scorer = named.profile.name, self.scorer
        self.say(f"asking the target {name}")
        if self.clocks is not None:
            named = replace(named, clocks=self.clocks.of(named.profile, named.address))
        timing = self.timing.with_batch(stated.view.target.batch)
        key = digest_of([named.profile.fingerprint, scorer is None, timing.batch])
        inputs = scorer.split.inputs if scorer else None
        try:
            target = usable_target(named, MeasurementStore(self.path / STORE), inputs=inputs)
        except TargetUnavailable:
            measured = self.unfinished.complete(name, key, stated.digests)
            if measured is None:
                raise
            return stated.compared(measured, named, reason=self.reason)
        with closing(target):
            measured = self.unfinished.target(name, key, target.probe())
            for more in stated.measure(target, measured, scorer=scorer, timing=timing, say=self.say):
                measured = more
                self.unfinished.keep(name, measured)
            return stated.compared(measured, named, reason=self.reason)
