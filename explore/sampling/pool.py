"""Pool: fresh candidates for the proposer, from dynamic programming and from switches (`Source`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..space.islands import Islands
from ..space.problem import LevelProblem, Levels
from .constrained import Bounds, constrained
from .losses import LossTable
from .mixtures import worst_case_solutions
from .moves import Costs, neighbours
from .observations import Observation
from .solve import Losses, Solver

_TRADEOFFS = 24
_CHILDREN = 100
_ISLANDS = 30  # children in which a run of layers computes in another way
_DECADES = 3.0
_PRAISED = 64  # prices that are remembered


@dataclass(slots=True, eq=False)
class Pool:
    """Candidates, N × slots, their (size, latency), the index of the parent or -1, and the (loss, latency,
    size) prices.
    """

    levels: np.ndarray
    costs: np.ndarray
    parents: np.ndarray
    weights: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Pool"]) -> "Pool":
        """All of them, one behind the other."""
        return cls(
            np.concatenate([part.levels for part in parts]),
            np.concatenate([part.costs for part in parts]),
            np.concatenate([part.parents for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )

    def at(self, rows: np.ndarray) -> "Pool":
        """Those of these rows."""
        return Pool(self.levels[rows], self.costs[rows], self.parents[rows], self.weights[rows])


class Source:
    """Makes them for a problem that may be exchanged, with the proposer's `rng`."""

    def __init__(
        self, losses: LossTable, *, switches: bool, islands: Islands | None, rng: np.random.Generator
    ):
        self.losses = losses
        self._switches, self._islands, self._rng = switches, islands, rng
        self._good: list[np.ndarray] = []

    def update_problem(self, problem: LevelProblem, costs: Costs) -> None:
        """The problem of all that is made from now on."""
        self.problem, self._costs, self._solver = problem, costs, Solver(problem)

    def praise(self, prices: np.ndarray) -> None:
        """These prices led to a good candidate: others will be near them."""
        self._good = [*self._good[1 - _PRAISED :], prices]

    def solutions(self, bounds: Bounds | None) -> Pool:
        """Solutions for varied prices, half of them by a plausible table instead of the likeliest; with
        `bounds` also the one of least loss that keeps them.
        """
        weights = self._prices(_TRADEOFFS if self._good else 3 * _TRADEOFFS)
        half = len(weights) // 2 if self._switches else len(weights)
        levels, prices = self._solved(self.losses.losses, weights[:half])
        if half < len(weights):
            more, their_prices = self._solved(self.losses.drawn(self._rng), weights[half:])
            levels, prices = [*levels, *more], np.concatenate([prices, their_prices])
        if bounds is not None:
            limit = constrained(self._solver, self.losses.losses, bounds, rounds=1)
            if limit is not None:
                levels, prices = [*levels, limit], np.concatenate([prices, weights[:1]])
        return self._pooled(levels, -1, prices)

    def around(self, entries: Sequence[Observation], parents: Sequence[int]) -> list[Pool]:
        """Switches around observed candidates, those of `entries` at `parents`; half of them by a plausible
        table instead of the likeliest.
        """
        if not parents:
            return []
        levels = np.array([entries[parent].levels for parent in parents])
        tables = [self.losses.losses, self.losses.drawn(self._rng)]
        changes = self._costs.changes(levels, [tables[row % 2] for row in range(len(parents))])
        pools = []
        for row, parent in enumerate(parents):
            weights = entries[parent].weights
            weights = self._prices(1)[0] if weights is None else weights
            made = neighbours(levels[row], changes[row], weights[[0, 2, 1]], _CHILDREN, self._rng)
            if self._islands is not None:
                made = np.concatenate([made, self._islands.flipped(levels[row], _ISLANDS, self._rng)])
            pools.append(self._pooled(made, parent, weights))
        return pools

    def empty(self) -> Pool:
        """No candidate."""
        none = np.zeros((0, len(self.problem.slots)), dtype=np.int64)
        return Pool(none, np.zeros((0, 2)), np.zeros(0, dtype=np.int64), np.zeros((0, 3)))

    def _solved(self, losses: Losses, weights: np.ndarray) -> tuple[list[Levels], np.ndarray]:
        return worst_case_solutions(self._solver, self._costs, losses, weights, rng=self._rng)

    def _prices(self, count: int) -> np.ndarray:
        """Multipliers of (loss, latency, size): near those that led to good candidates, some anywhere."""
        scale = sum(float(loss.max()) for loss in self.losses.losses) or 1.0
        weights = np.ones((count, 3))
        weights[:, 1:] = scale * 10 ** self._rng.uniform(-_DECADES, _DECADES / 2, (count, 2))
        if self._good:
            near = self._rng.random(count) < 0.75
            good = np.array(self._good)[self._rng.integers(len(self._good), size=count)]
            weights[near] = (good * np.exp(self._rng.normal(0.0, 0.7, (count, 3)) * [0, 1, 1]))[near]
        return weights

    def _pooled(self, levels: Iterable[Levels] | np.ndarray, parent: int, weights: np.ndarray) -> Pool:
        rows = self._costs.canonical(np.array(levels, dtype=np.int64).reshape(-1, len(self.problem.slots)))
        parents, prices = np.full(len(rows), parent), np.broadcast_to(weights, (len(rows), 3)).copy()
        return Pool(rows, self._costs.many(rows), parents, prices)
