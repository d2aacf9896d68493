"""Comparison: runs beside each other, with a view for notebooks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..results.choosing.policy import Policy
from ..results.compare import Comparison as ComparisonRecord
from ..results.compare import Side, Tolerance, compare
from ..results.compare.view import comparison_html
from ..results.compare.words import pair_lines, verdict_line
from .tables import Table


@dataclass(frozen=True, eq=False)
class Comparison:
    """The last of several runs against each earlier one, as the command `compare` does it."""

    record: ComparisonRecord

    @classmethod
    def of(cls, sides: Sequence[Side], policies: Sequence[str], tolerance: Sequence[str]) -> "Comparison":
        """The comparison of these sides by policies and tolerances as the command takes them."""
        asked = [Policy.parse(text) for text in policies]
        return cls(record=compare(sides, policies=asked, tolerance=Tolerance.parse(tolerance)))

    def __repr__(self) -> str:
        lines = [line for pair in self.record.pairs for line in pair_lines(pair)]
        return "\n".join([verdict_line(self.record), *lines])

    def _repr_html_(self) -> str:
        return f"<div>{comparison_html(self.record)}</div>"

    @property
    def worse(self) -> bool:
        """Whether the pick of any policy got worse."""
        return self.record.worse

    @property
    def differences(self) -> tuple[str, ...]:
        """What differs besides the points, in words; then only ratios are compared."""
        return tuple(str(one) for pair in self.record.pairs for one in pair.differences)

    def to_json(self) -> dict[str, Any]:
        """What `compare --json` prints."""
        return self.record.to_json()

    def table(self) -> Table:
        """A row for each earlier run, target, policy and quantity: then, now, the change with its interval,
        the verdict on the quantity and that on the pick.
        """
        rows = [
            {
                "old": pair.sides[0].label,
                "new": pair.sides[1].label,
                "target": pair.target,
                "policy": pick.policy.name,
                "quantity": name,
                "then": change.old,
                "now": change.new,
                "change": change.change,
                "change_low": None if change.interval is None else change.interval[0],
                "change_high": None if change.interval is None else change.interval[1],
                "verdict": change.verdict,
                "pick": pick.verdict,
            }
            for pair in self.record.pairs
            for pick in pair.picks
            for name, change in pick.changes.items()
        ]
        return Table(tuple(rows))
