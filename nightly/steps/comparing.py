"""Tonight's run against that of the reference night: environments, what policies pick."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import RunDirectoryError
from ...files import file_below
from ...results.choosing.choose import Aim
from ...results.choosing.policy import Policy
from ...results.formats import label_of
from ...results.records.point import Point
from ...results.records.reading import Interval
from ...results.records.run import Run
from ...results.run_config import RunConfig
from ..config import Tolerance
from ..judge import below, beyond, quotient
from ..records.model_night import PolicyChange, Quantity, Verdict
from ..records.seen import EnvironmentChange, Pick, PickOn

QUANTITIES: Mapping[Aim, Quantity] = {
    "latency": "latency",
    "size": "size",
    "drop": "drop",
    "balance": "latency",
}
_OF_TASK = ("model", "data", "task definition", "batch", "shape")


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
    """What is another than in the reference run: of the task, of each target's profile and environment."""
    return (*_task_changes(before.config, now.config), *_target_changes(before.run, now.run))


def _task_changes(before: RunConfig, now: RunConfig) -> Iterator[EnvironmentChange]:
    changed = [name for name in _OF_TASK if before.identity.get(name) != now.identity.get(name)]
    if len(changed) > 1 and "task definition" in changed:
        changed.remove("task definition")  # it changes with the others, which tell more
    for name in changed:
        texts = (config.identity.get(name, "none") for config in (before, now))
        yield EnvironmentChange(target="", what=name, before=next(texts), now=next(texts))


def _target_changes(before: Run, now: Run) -> Iterator[EnvironmentChange]:
    earlier = {target.name: target for target in before.targets}
    for target in now.targets:
        other = earlier.get(target.name)
        if other is None:
            continue
        options = {*other.runtime_options, *target.runtime_options}
        for name in sorted(options):
            was, is_now = (str(one.runtime_options.get(name, "not set")) for one in (other, target))
            if was != is_now:
                yield EnvironmentChange(
                    target=target.name, what=f"runtime option {name}", before=was, now=is_now
                )
        if other.profile_fingerprint != target.profile_fingerprint:
            yield EnvironmentChange(
                target=target.name,
                what="profile",
                before=other.profile_fingerprint,
                now=target.profile_fingerprint,
            )
        if other.environment is not None and target.environment is not None:
            for what, pair in other.environment.differences(target.environment).items():
                texts = (_text(value) for value in pair)
                yield EnvironmentChange(target=target.name, what=what, before=next(texts), now=next(texts))


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def policy_change(
    policy: Policy, before: Pick | None, now: Pick | None, *, tolerance: Tolerance, unit: float
) -> PolicyChange:
    """What a policy picks tonight against what it picked before, by the two runs alone. `unit` is what a
    tolerance of the whole quality stands for in the metric's unit: 1 of a fraction.
    """
    quantity = QUANTITIES[policy.aim]
    unknown = PolicyChange(
        policy=policy.text,
        quantity=quantity,
        target="",
        before=None if before is None else largest(before, quantity),
        now=None if now is None else largest(now, quantity),
        interval=None,
        again=None,
        verdict="worse" if before is not None and now is None else "unknown",
    )
    if before is None or now is None or before.targets.keys() != now.targets.keys():
        return unknown
    target = _worst(now, quantity)
    interval = _interval(before.targets[target], now.targets[target], quantity)
    same = before.targets[target].digest == now.targets[target].digest
    return replace(
        unknown,
        target=target,
        before=_value(before, quantity, target),
        now=_value(now, quantity, target),
        interval=interval,
        verdict="same" if same else _verdict(quantity, interval, tolerance, unit),
    )


def _verdict(quantity: Quantity, interval: Interval, tolerance: Tolerance, unit: float) -> Verdict:
    if quantity == "drop":
        room = tolerance.quality * unit
        return "worse" if interval[0] > room else "better" if interval[1] < -room else "same"
    room = tolerance.latency if quantity == "latency" else tolerance.size
    return "worse" if beyond(interval, room) else "better" if below(interval, room) else "same"


def largest(pick: Pick, quantity: Quantity) -> float:
    """The quantity of a pick on the target where it is worst."""
    return {"latency": pick.ratio, "size": pick.size_ratio, "drop": pick.drop}[quantity]


def _worst(pick: Pick, quantity: Quantity) -> str:
    """The target where the quantity is largest."""
    return max(pick.targets, key=lambda name: _value(pick, quantity, name))


def _value(pick: Pick, quantity: Quantity, target: str) -> float:
    there = pick.targets[target]
    return {"latency": there.ratio, "size": there.size_ratio, "drop": there.drop}[quantity]


def _interval(before: PickOn, now: PickOn, quantity: Quantity) -> Interval:
    """Of now divided by before; of drops now minus before."""
    if quantity == "size":
        return now.size_ratio / before.size_ratio, now.size_ratio / before.size_ratio
    if quantity == "latency":
        then, today = (one.ratio_interval or (one.ratio, one.ratio) for one in (before, now))
        return quotient(now.ratio, today, before.ratio, then)
    ends = [one.drop_interval or (one.drop, one.drop) for one in (before, now)]
    spread = math.hypot(*((high - low) / 2 for low, high in ends))
    return now.drop - before.drop - spread, now.drop - before.drop + spread
