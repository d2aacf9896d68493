"""Comparison: the last of several runs against each earlier one, on each target that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from ..choosing.policy import Policy, default_policies
from ..view import RunOn
from .differences import Difference, differences, same_metric
from .fronts import Domination, HypervolumeChange, domination, hypervolume_change
from .picks import PickChange, pick_change
from .side import Side, target_pairs
from .tolerance import Tolerance

SCHEMA_VERSION = 1  # of what `compare --json` prints


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An earlier run beside the last one, on a target of each.

    `old_dominated` says how much of the old front the new one dominates, `new_dominated` the reverse; None
    where the metrics differ.
    """

    sides: tuple[Side, Side]
    old: RunOn
    new: RunOn
    differences: tuple[Difference, ...]
    hypervolume: HypervolumeChange
    old_dominated: Domination | None
    new_dominated: Domination | None
    picks: tuple[PickChange, ...]

    @property
    def target(self) -> str:
        """The name of the last run's target."""
        return self.new.target.name

    @property
    def absolute(self) -> bool:
        """Whether seconds, bytes and the metric itself compare: nothing but the points differs."""
        return not self.differences

    @property
    def worse(self) -> tuple[PickChange, ...]:
        """The policies whose pick got worse."""
        return tuple(pick for pick in self.picks if pick.verdict == "worse")

    def to_json(self) -> dict[str, Any]:
        """A JSON value for scripts."""
        return {
            "old": self.sides[0].label,
            "new": self.sides[1].label,
            "targets": [self.old.target.name, self.new.target.name],
            "ratios_only": not self.absolute,
            "differences": [
                {"kind": one.kind, "what": one.what, "old": one.old, "new": one.new}
                for one in self.differences
            ],
            "hypervolume": self.hypervolume.to_json(),
            "old_front_dominated": None if self.old_dominated is None else self.old_dominated.to_json(),
            "new_front_dominated": None if self.new_dominated is None else self.new_dominated.to_json(),
            "policies": [pick.to_json() for pick in self.picks],
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs in the order of time; the last one is judged against each earlier one."""

    sides: tuple[Side, ...]
    policies: tuple[Policy, ...]
    tolerance: Tolerance
    pairs: tuple[Pair, ...]

    @property
    def worse(self) -> bool:
        """Whether the pick of any policy got worse, on any target, since any earlier run."""
        return any(pair.worse for pair in self.pairs)

    def to_json(self) -> dict[str, Any]:
        """What `compare --json` prints."""
        return {
            "schema_version": SCHEMA_VERSION,
            "sides": [{"label": side.label, "kind": side.kind} for side in self.sides],
            "policies": [str(policy) for policy in self.policies],
            "tolerance": {
                "latency": self.tolerance.latency,
                "size": self.tolerance.size,
                "drop": str(self.tolerance.drop),
                "energy": self.tolerance.energy,
            },
            "worse": self.worse,
            "comparisons": [pair.to_json() for pair in self.pairs],
        }


def compare(
    sides: Sequence[Side], *, policies: Sequence[Policy] = (), tolerance: Tolerance | None = None
) -> Comparison:
    """The last side beside each earlier one. Without policies those are `default_policies` of the last run.

    InputError for less than two sides, for runs without a common target, and for a policy or tolerance that
    does not fit the metric.
    """
    if len(sides) < 2:
        raise InputError("There is nothing to compare with: give at least two runs or bundles.")
    *earlier, last = sides
    asked = tuple(policies) or default_policies(last.run)
    room = tolerance or Tolerance()
    pairs = tuple(
        _pair(side, last, names, asked, room) for side in earlier for names in target_pairs(side, last)
    )
    return Comparison(sides=tuple(sides), policies=asked, tolerance=room, pairs=pairs)


def _pair(
    earlier: Side, last: Side, names: tuple[str, str], policies: Sequence[Policy], tolerance: Tolerance
) -> Pair:
    old, new = earlier.on(names[0]), last.on(names[1])
    alike = same_metric(old, new)
    return Pair(
        sides=(earlier, last),
        old=old,
        new=new,
        differences=differences(old, new, (earlier.identity, last.identity)),
        hypervolume=hypervolume_change(old, new),
        old_dominated=domination(old.front, new.front) if alike else None,
        new_dominated=domination(new.front, old.front) if alike else None,
        picks=tuple(pick_change(policy, old, new, tolerance) for policy in policies),
    )
