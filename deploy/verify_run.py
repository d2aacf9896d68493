"""`autocompress verify RUN`: its targets, or others, one after the other; what was found is kept in the run
directory.

Each point that was measured is in `verify-unfinished.json` until every target is through, so that the same
command goes on after an interruption, and where a target was away. `verify.json` is replaced as a whole, and
the report shows it:

    schema_version, at, regressed     of all targets together
    targets                           what was found on each, see `Stated.compared`
    away                              name, address and reason of those that could not be used

This process holds the run's lock meanwhile: no search, no other `verify` and no `pick --finetune` works on
the run beside it.
"""

import json
import time
import tomllib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, TargetUnavailable
from ..files import digest_of, write_text
from ..profiles import FINALIST_TIMING, Environment, TargetAddress, TimingConfig
from ..results.formats import Point, Run
from ..results.run_directory import VERIFIED, RunDirectory, read_json, read_run
from ..results.target_limits import target_addresses
from ..results.verify_words import SCHEMA_VERSION
from ..results.views import targets_of
from ..search.evaluation.several import NamedTarget, named_targets
from ..targets.held_clocks import ClocksOfTargets
from ..targets.store import MeasurementStore
from .verify import Say, Scorer, Stated, scorer_or_reason, usable_target

UNFINISHED, STORE = "verify-unfinished.json", "verify.db"


def verify_run(
    path: Path,
    target: str | None,
    *,
    folder: Path,
    say: Say,
    note: Say,
    timing: TimingConfig = FINALIST_TIMING,
    clocks: ClocksOfTargets | None = None,
) -> dict[str, Any]:
    """What verify.json then says. `target` None is all of the run's own; `folder` for temporary files,
    `clocks` for --set-clocks.

    Of several targets those that cannot be used, or are lost, are left out and told. InputError when the run,
    its files or a target's name are wrong, or somebody else works on the run; TargetUnavailable when no
    target is left. What was measured is kept.
    """
    _require_run(path)  # before anything is written to what is no run
    with RunDirectory.hold(path, by="verify"):
        run = read_run(path)
        asked = asked_targets(path, run, target, note=note)
        stated = {one.profile.name: Stated.of(path, run, one.profile.name) for one in asked}
        scorer, reason = scorer_or_reason(run["task"], folder)
        if reason:
            note(
                f"Note: the task cannot be loaded here, so that only latency is verified, with random inputs. {reason}"
            )
        visit = _Visit(
            path=path,
            scorer=scorer,
            reason=reason,
            timing=timing,
            say=say,
            clocks=clocks,
            kept=_Kept.open(path, asked),
        )
        found: list[dict[str, Any]] = []
        away: list[dict[str, Any]] = []
        for one in asked:
            try:
                found.append(visit.target(one, stated[one.profile.name]))
            except TargetUnavailable as error:
                away.append({"name": one.profile.name, "address": str(one.address), "reason": str(error)})
        if not found:
            raise TargetUnavailable(" ".join(item["reason"] for item in away))
        return _concluded(path, found, away)


def _require_run(path: Path) -> None:
    """RunDirectoryError or InputError when `path` holds no run that has a result."""
    bundles = sorted(file.parent for file in path.glob("*/manifest.json"))
    if bundles and not (path / "front.json").is_file():
        raise InputError(
            f"{path} holds the bundles of several targets: verify them one after the other, like {bundles[0]}."
        )
    read_run(path)


def _concluded(path: Path, found: list[dict[str, Any]], away: list[dict[str, Any]]) -> dict[str, Any]:
    """What verify.json says from now on. What an unfinished call needs stays while a target is away."""
    regressed = any(item["regressed"] for item in found)
    whole = {
        "schema_version": SCHEMA_VERSION,
        "at": _now(),
        "targets": found,
        "away": away,
        "regressed": regressed,
    }
    write_text(path / VERIFIED, _json(whole))
    if not away:
        _remove(path)
    return whole


def asked_targets(path: Path, run: Run, text: str | None, *, note: Say) -> list[NamedTarget]:
    """The targets of `--target`, or the run's own, as the run calls them. InputError or ProfileError says
    what is wrong with one.

    A name that the run uses is the run's target at its address, and so is the same profile at the same place.
    """
    own = _own_addresses(path, run)
    if text is None:
        known = {name: address for name, address in own.items() if name in targets_of(run)}
        for name in own.keys() - known.keys():
            note(
                f"Target '{name}' has measured nothing yet, and is not verified: the search's command catches it up."
            )
        return _loaded(known, own)
    asked: dict[str, TargetAddress] = {}
    for name, address in target_addresses(text).items():
        same = (key for key, other in own.items() if _place(other) == _place(address))
        called = name if name in own else str(address) if str(address) in own else next(same, name)
        if called in asked:
            raise InputError(f"--target {text!r} names {called!r} twice: give each target once.")
        asked[called] = own[called] if str(address) in own else address
    return _loaded(asked, own)


def _loaded(asked: Mapping[str, TargetAddress], own: Mapping[str, TargetAddress]) -> list[NamedTarget]:
    """The targets; InputError where a TOML file of the search, which is relative to the folder of that, is
    not found from here.
    """
    for address in asked.values():
        if (
            address in own.values()
            and address.profile.endswith(".toml")
            and not Path(address.profile).is_file()
        ):
            raise InputError(
                f"The run's target {address.profile} is not found from here: go to the folder in which the search was started, "
                f"or say where it is: --target path/{Path(str(address)).name}."
            )
    return list(named_targets(asked))


def _place(address: TargetAddress) -> tuple[str, str | None, int | None]:
    return address.name, address.host, address.port


def _own_addresses(path: Path, run: Run) -> dict[str, TargetAddress]:
    """The run's targets as they were written on the command line; by their names alone where run.toml does
    not tell.
    """
    try:
        text = str(tomllib.loads((path / "run.toml").read_text(encoding="utf-8"))["options"]["target"])
    except (OSError, KeyError, ValueError):
        text = ",".join(targets_of(run))
    return target_addresses(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What an unfinished call on the same targets left, by target: `key`, `environment`, its `fingerprint`,
    `rows` by digest, and `at`, the last row's time.
    """

    path: Path
    asked: list[str]
    targets: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, asked: list[NamedTarget]) -> "_Kept":
        """What is there for these targets; nothing where others were asked for."""
        names = [f"{one.profile.name} {one.address}" for one in asked]
        left = read_json(path / UNFINISHED) or {}
        if left.get("asked") == names:
            return cls(path=path, asked=names, targets=left["targets"])
        _remove(path)  # with the measurements, which would answer for new ones
        return cls(path=path, asked=names)

    def of(self, name: str, key: str, environment: Environment) -> dict[str, Any]:
        """The entry of a target; a new one where the key (profile, batch …) or the environment is another."""
        seen = self.targets.get(name, {})
        if (seen.get("key"), seen.get("fingerprint")) != (key, environment.fingerprint):
            told = {"environment": environment.to_json(), "fingerprint": environment.fingerprint}
            self.targets[name] = {"key": key, **told, "rows": {}, "at": _now()}
        entry: dict[str, Any] = self.targets[name]
        return entry

    def whole(self, name: str, key: str, points: list[Point]) -> dict[str, Any] | None:
        """The entry of a target that is through with these points; None when it is not."""
        seen: dict[str, Any] = self.targets.get(name, {})
        through = seen.get("key") == key and all(
            point["artifact"]["digest"] in seen["rows"] for point in points
        )
        return seen if through else None

    def write(self) -> None:
        """Keeps everything on disk."""
        write_text(self.path / UNFINISHED, _json({"asked": self.asked, "targets": self.targets}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """What all targets of a call share."""

    path: Path
    scorer: Scorer | None
    reason: str
    timing: TimingConfig
    say: Say
    clocks: ClocksOfTargets | None
    kept: _Kept

    def target(self, named: NamedTarget, stated: Stated) -> dict[str, Any]:
        """What was found on one target. TargetUnavailable when it cannot be used and is not through with its
        points, or is lost.
        """
        name, scorer = named.profile.name, self.scorer
        self.say(f"asking the target {name}")
        if self.clocks is not None:
            named = replace(named, clocks=self.clocks.of(named.profile, named.address))
        timing = self.timing.with_batch(stated.view["target"]["batch"])
        key = digest_of([named.profile.fingerprint, scorer is None, timing.batch])
        try:
            target = usable_target(
                named, MeasurementStore(self.path / STORE), inputs=scorer.split.inputs if scorer else None
            )
        except TargetUnavailable:
            if (through := self.kept.whole(name, key, stated.points)) is None:
                raise
            return stated.compared(through, named, reason=self.reason)
        with closing(target):
            entry = self.kept.of(name, key, target.probe())
            for _ in stated.measure(target, entry["rows"], scorer=scorer, timing=timing, say=self.say):
                entry["at"] = _now()
                self.kept.write()
            return stated.compared(entry, named, reason=self.reason)


def _remove(path: Path) -> None:
    """What an unfinished call keeps."""
    for name in (UNFINISHED, STORE):
        (path / name).unlink(missing_ok=True)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
