"""PickChange: which point a policy takes of each run, and whether that got worse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..choosing.choose import Aim
from ..choosing.policy import Policy
from ..choosing.slower import slowdown
from ..formats import label_of
from ..limits import Limits
from ..view import PointOn, RunOn
from .change import Change, Verdict, changes, half_drop, paired, relative_half_width
from .tolerance import Quantity, Tolerance

_AIMED: Mapping[Aim, tuple[Quantity, ...]] = {
    "latency": ("latency",),
    "size": ("size",),
    "drop": ("drop",),
    "balance": ("latency", "size", "drop"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PickChange:
    """The picks of a policy and how they differ. A pick is None where nothing met the policy.

    `changes` has every quantity; `judged` names those that the verdict is about: the policy's aim and the
    drop. `reason` says the verdict in words.
    """

    policy: Policy
    old: PointOn | None
    new: PointOn | None
    changes: Mapping[Quantity, Change]
    judged: tuple[Quantity, ...]
    verdict: Verdict
    reason: str

    def to_json(self) -> dict[str, Any]:
        """A JSON value: trials, changes, verdict."""
        return {
            "policy": str(self.policy),
            "old": None if self.old is None else self.old.trial,
            "new": None if self.new is None else self.new.trial,
            "changes": {name: change.to_json() for name, change in self.changes.items()},
            "judged": list(self.judged),
            "verdict": self.verdict,
            "reason": self.reason,
        }


def pick_change(policy: Policy, old: RunOn, new: RunOn, tolerance: Tolerance) -> PickChange:
    """What the policy takes of both runs, and the verdict.

    Better: the aim is better, or the policy is met that was not. Worse: the aim or the drop is worse while
    the aim is not better, or nothing meets the policy any more; but the same where a point of the new run may
    be as good (`_as_good`). The same file on the same samples, measured again, has no such excuse. Unknown: a
    judged quantity has no interval, or none is there.
    """
    before, after = (_pick(policy, view) for view in (old, new))
    return change_of_picks(policy, before, after, new, tolerance)


def change_of_picks(
    policy: Policy, before: PointOn | None, after: PointOn | None, new: RunOn, tolerance: Tolerance
) -> PickChange:
    """The verdict on two points, as `pick_change` gives it, that were picked for several targets together."""
    moved = changes(before, after, tolerance) if before and after else {}
    aimed = _AIMED[policy.aim]
    judged = tuple(dict.fromkeys([*aimed, "drop"]))
    verdict, reason = _verdict(policy, (before, after), new, moved, tolerance)
    return PickChange(
        policy=policy, old=before, new=after, changes=moved, judged=judged, verdict=verdict, reason=reason
    )


def _pick(policy: Policy, view: RunOn) -> PointOn | None:
    choice = policy.choose(view.run)
    return None if choice is None else view.on(choice.point)


def _verdict(
    policy: Policy,
    picks: tuple[PointOn | None, PointOn | None],
    new: RunOn,
    moved: Mapping[Quantity, Change],
    tolerance: Tolerance,
) -> tuple[Verdict, str]:
    before, after = picks
    if before is None:
        return ("same", "nothing meets it, then or now") if after is None else ("better", "it is met now")
    verdict: Verdict = "worse"
    words = "nothing meets it any more"
    if after is not None:
        verdict, words = _of_changes(policy, moved)
        if verdict == "worse" and paired(before, after):
            return verdict, f"{words}; it is the same file, measured again"
    if verdict != "worse":
        return verdict, words
    equal = _as_good(policy, before, new, tolerance)
    if equal is None:
        return verdict, words
    return "same", f"not told apart: {label_of(equal, new)} may be as good as the earlier pick"


def _of_changes(policy: Policy, moved: Mapping[Quantity, Change]) -> tuple[Verdict, str]:
    """The verdict of two picks by their numbers alone."""
    aimed = {name: moved[name].verdict for name in _AIMED[policy.aim] if name in moved}
    judged = aimed | {name: moved[name].verdict for name in ("drop",) if name in moved}
    worse = [name for name, verdict in judged.items() if verdict == "worse"]
    better = [name for name, verdict in aimed.items() if verdict == "better"]
    if better and not set(worse) & aimed.keys():
        return "better", f"better {_listed(better)}" + (f", for a larger {_listed(worse)}" if worse else "")
    if worse and not better:
        return "worse", f"worse {_listed(worse)}"
    unknown = [name for name, verdict in judged.items() if verdict == "unknown"]
    if unknown or not aimed:
        return "unknown", f"no interval of {_listed(unknown)}" if unknown else "the metrics differ"
    if worse:
        return "same", f"better {_listed(better)}, worse {_listed(worse)}"
    aside = [name for name in moved if name not in judged and moved[name].verdict == "worse"]
    more = f"; it does not judge the {_listed(aside)}, which is worse" if aside else ""
    return "same", f"{_listed(list(judged))} within intervals and tolerance{more}"


def _as_good(policy: Policy, before: PointOn, new: RunOn, tolerance: Tolerance) -> PointOn | None:
    """A point that is not shown to be worse than the earlier pick in aim or drop: the same file on the same
    samples, or where there is none any that may meet the policy.

    Any, since the earlier pick was the luckiest of many: measured on other samples, its own numbers alone
    fall back more often than their interval says.
    """
    others = [point for point in new.points if point.trial != new.baseline.trial]
    again = [point for point in others if paired(before, point)]
    judged: set[Quantity] = {*_AIMED[policy.aim], "drop"}
    for point in again:
        moved = changes(before, point, tolerance)
        if not any(moved[name].verdict == "worse" for name in (judged | _limited(policy)) & moved.keys()):
            return point
    limits = policy.limits(new.run)[new.target.name]
    for point in [] if again else others:
        moved = changes(before, point, tolerance)
        worse = any(moved[name].verdict == "worse" for name in judged & moved.keys())
        if not worse and _may_meet(point, limits):
            return point
    return None


def _limited(policy: Policy) -> set[Quantity]:
    """The quantities that the policy limits besides the drop."""
    limits = policy.constraints
    given: dict[Quantity, object] = {
        "latency": limits.max_latency_s,
        "size": limits.max_size_bytes,
        "energy": limits.max_energy_j,
    }
    return {name for name, value in given.items() if value is not None}


def _may_meet(point: PointOn, limits: Limits) -> bool:
    """Whether no limit is shown to be broken, and the point not shown to be slower than the original."""
    half = relative_half_width(point) or 0.0
    drop = point.drop - (half_drop(point) or 0.0)
    low_s = point.latency.seconds * (1 - half)
    energy = point.latency.energy
    excess = limits.excess(
        drop=drop,
        latency_s=low_s,
        size_bytes=point.size_bytes,
        energy_j=energy.interval_j[0] if energy else None,
    )
    may_be_as_fast = slowdown(point.view.run, point.point, point.view.target.name)[0] <= 1.0
    return may_be_as_fast and all(value <= 0 for value in excess.values())


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
