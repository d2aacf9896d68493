"""Tonight's run against that of the reference night: environments, what policies pick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import RunDirectoryError
from ...files import file_below
from ...results.choosing.choose import Aim, Choice
from ...results.choosing.policy import Policy
from ...results.compare.change import Verdict, latency_ratio
from ...results.compare.differences import differences
from ...results.compare.picks import PickChange, change_of_picks
from ...results.compare.tolerance import Quantity, Tolerance
from ...results.formats import label_of
from ...results.records.point import Point
from ...results.records.run import Run
from ...results.run_config import RunConfig
from ...results.view import PointOn, RunOn
from ..records.model_night import PolicyChange
from ..records.seen import EnvironmentChange, Pick, PickOn

QUANTITIES: Mapping[Aim, Quantity] = {
    "latency": "latency",
    "size": "size",
    "drop": "drop",
    "balance": "latency",
}
_ORDER: tuple[Verdict, ...] = ("better", "same", "unknown", "worse")  # the last one decides


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A run, and what its run.toml says it is."""

    run: Run
    config: RunConfig


def picked(run: Run, policy: Policy) -> Pick | None:
    """The point that a policy takes of the run, None where nothing meets its limits. InputError when its
    limits do not fit the metric.
    """
    choice = policy.choose(run)
    return None if choice is None else pick_of(run, choice.point, policy.text)


def pick_of(run: Run, point: Point, policy: str) -> Pick:
    """A point of the run with its numbers on each target."""
    return Pick(
        policy=policy,
        trial=point.trial,
        label=label_of(point, run),
        original=point.trial == run.baseline.trial,
        targets={name: _numbers(run, point, name) for name in run.measured(point)},
    )


def artifact_of(path: Path, run: Run, pick: Pick, target: str) -> Path:
    """The file of a pick of the run in the directory `path`. RunDirectoryError when it is gone."""
    file = file_below(path, run.point(pick.trial).measured[target].artifact.file)
    if not file.is_file():
        raise RunDirectoryError(f"{file} is gone: search again with --fresh to make it anew.")
    return file


def _numbers(run: Run, point: Point, target: str) -> PickOn:
    measured = point.measured[target]
    latency, quality = measured.latency, measured.quality
    return PickOn(
        digest=measured.artifact.digest,
        latency_s=latency.seconds,
        ratio=latency.ratio,
        ratio_interval=getattr(latency, "ratio_interval", None),  # a prediction has none
        quality=quality.validation,
        drop=measured.drop,
        drop_interval=measured.drop_interval,
        test=quality.test,
        size_bytes=measured.artifact.size_bytes,
        size_ratio=run.size_ratio(measured, target),
    )


def changes(before: Facts, now: Facts) -> tuple[EnvironmentChange, ...]:
    """What is another than in the reference run: of the task, of each target and its environment."""
    found: dict[EnvironmentChange, None] = {}
    identities = (before.config.identity, now.config.identity)
    for name in _shared(before.run, now.run):
        pair = (RunOn.of(before.run, name), RunOn.of(now.run, name))
        found |= dict.fromkeys(EnvironmentChange.of(one, name) for one in differences(*pair, identities))
    return tuple(found)


def policy_change(policy: Policy, before: Run, now: Run, tolerance: Tolerance) -> PolicyChange:
    """What a policy picks tonight against what it picks of the run before, by the two runs alone. A pick is
    one for all targets; the change is that of the target where it came out worst.
    """
    picks = [policy.choose(run) for run in (before, now)]
    names = _shared(before, now)
    if not names:
        return _unknown(policy, "the runs have no target in common")
    judged = [(name, _change_on(policy, name, (before, now), picks, tolerance)) for name in names]
    target, change = max(judged, key=lambda one: _ORDER.index(one[1].verdict))
    return _recorded(target, change)


def _shared(before: Run, now: Run) -> list[str]:
    """The targets that both runs have measured the original on."""
    return [name for name in now.target_names if name in before.target_names]


def _change_on(
    policy: Policy,
    target: str,
    runs: tuple[Run, Run],
    picks: Sequence[Choice | None],
    tolerance: Tolerance,
) -> PickChange:
    views = [RunOn.of(run, target) for run in runs]
    there = [
        None if choice is None else view.on(choice.point) for view, choice in zip(views, picks, strict=True)
    ]
    return change_of_picks(policy, there[0], there[1], views[1], tolerance)


def _recorded(target: str, change: PickChange) -> PolicyChange:
    """The change as a record, in the quantity that decides."""
    judged = [name for name in change.judged if name in change.changes]
    judged.sort(key=lambda name: name == "latency")  # last: what else is worse needs no second look
    decisive = next((name for name in judged if change.changes[name].verdict == change.verdict), None)
    quantity = decisive or change.judged[0]
    moved = change.changes.get(quantity)
    values = [None if point is None else _value_of(point, quantity) for point in (change.old, change.new)]
    return PolicyChange(
        policy=change.policy.text,
        quantity=quantity,
        target=target if moved is not None else "",
        before=values[0],
        now=values[1],
        interval=None if moved is None else moved.interval,
        again=None,
        verdict=change.verdict,
        reason=change.reason,
    )


def _value_of(point: PointOn, quantity: Quantity) -> float:
    if quantity == "drop":
        return point.drop
    return latency_ratio(point) if quantity == "latency" else point.size_ratio


def _unknown(policy: Policy, reason: str) -> PolicyChange:
    return PolicyChange(
        policy=policy.text,
        quantity=QUANTITIES[policy.aim],
        target="",
        before=None,
        now=None,
        interval=None,
        again=None,
        verdict="unknown",
        reason=reason,
    )


def largest(pick: Pick, quantity: Quantity) -> float:
    """The quantity of a pick on the target where it is worst."""
    return {"latency": pick.ratio, "size": pick.size_ratio, "drop": pick.drop}[quantity]
