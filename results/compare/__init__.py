"""Runs beside each other: fronts, what each policy would take then and now, and whether that got worse.

Purpose. Two runs of a task, or more in the order of time, or a run and a bundle. Each is read as data, so
that they may come from anywhere. What is compared are ratios to each one's own original, which was measured
in turns with the candidates: seconds drift with the machine, ratios do not.

What is worse. A change is called so when its whole 95 % interval, of both measurements together, lies beyond
the tolerance. A policy's pick got worse when that holds for its aim or for the drop without a gain in the
aim, and no point of the new run may be as good: a pick that changed since a measured value crossed a limit by
less than its spread is no loss. The nights of `nightly/` judge by the same rule.

Flow: Side (a run or a bundle with its name) → `differences.py` (what else is not the same), `change.py` (one
quantity of two points), `picks.py` (a policy, then and now), `fronts.py` (hypervolume in a common box, who
dominates whom) → `comparison.py` → `words.py` and `table.py` for a terminal, `view.py` and `chart.py` as HTML
(`report/compared.py` makes a page of it).

Reading order: `side.py`, `differences.py`, `tolerance.py`, `change.py`, `picks.py`, `fronts.py`,
`comparison.py`, `words.py`, `table.py`, `view.py`, `chart.py`.

It does not know the command line, how bundles are read, or how anything was measured.
"""

from .change import Change
from .comparison import Comparison, Pair, compare
from .picks import PickChange
from .side import Side
from .tolerance import Tolerance

__all__ = ["Change", "Comparison", "Pair", "PickChange", "Side", "Tolerance", "compare"]
