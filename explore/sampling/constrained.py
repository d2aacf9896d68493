"""Constrained: the best candidate within limits, by adjusting the multipliers of a Solver.

A limit on the worst of several targets is a limit on each, with a multiplier of its own.
"""

from dataclasses import dataclass

import numpy as np

from ..space.problem import LevelProblem, Levels
from .moves import Costs
from .solve import Losses, Solver, additive_loss

_SECTIONS = 9
_STEPS = 4
_WIDE = 14.0  # multipliers from exp(-14) to exp(14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Upper limits of (loss, latency, size); infinity is no limit."""

    max_loss: float = np.inf
    max_latency: float = np.inf
    max_size: float = np.inf

    @property
    def values(self) -> np.ndarray:
        """The limits of (loss, latency, size)."""
        return np.array([self.max_loss, self.max_latency, self.max_size])


def constrained(
    solver: Solver,
    losses: Losses,
    bounds: Bounds,
    *,
    objective: tuple[float, float, float] = (1.0, 1e-6, 1e-6),
    rounds: int = 2,
) -> Levels | None:
    """The feasible levels with the smallest objective, weights of (loss, latency, size), or None.

    Each limit's multiplier is bisected (eight sections at a time) while the others stay, `rounds` times over.
    What a Lagrangian relaxation cannot reach, inside the convex hull of the front, is filled up by single
    changes that keep the limits.
    """
    repeats = np.array([1, solver.problem.target_count, solver.problem.target_count])
    limits = np.repeat(bounds.values, repeats)
    least = np.repeat(np.array(objective, dtype=float) / repeats, repeats)
    search = _Search(solver.problem, losses, limits, least)
    weights = least.copy()
    for axis in np.flatnonzero(np.isfinite(limits)).tolist() * rounds:
        low, high = -_WIDE, _WIDE
        for _ in range(_STEPS):
            powers = np.linspace(low, high, _SECTIONS)
            rows = np.tile(weights, (_SECTIONS + 1, 1))
            rows[:, axis] = least[axis] + np.concatenate([[0.0], np.exp(powers)])
            holds = search.take(solver.minimize(losses, rows))[:, axis] <= limits[axis]
            if holds[0]:
                weights[axis] = least[axis]
                break
            first = int(holds[1:].argmax()) if holds.any() else _SECTIONS - 1
            weights[axis] = rows[1 + first, axis]
            low, high = powers[max(first - 1, 0)], powers[first]
    if not np.isfinite(limits).any():
        search.take(solver.minimize(losses, weights[None]))
    return search.polished()


class _Search:
    """The best feasible candidate so far; `limits` and `objective` are by cost, as of `Solver`."""

    def __init__(self, problem: LevelProblem, losses: Losses, limits: np.ndarray, objective: np.ndarray):
        self._problem, self._losses, self._limits, self._objective = problem, losses, limits, objective
        self._best: tuple[float, Levels] | None = None

    def take(self, candidates: list[Levels]) -> np.ndarray:
        """The costs of candidates, N × costs."""
        values = np.array([self._values(levels) for levels in candidates])
        for levels, value in zip(candidates, values, strict=True):
            total = float(value @ self._objective)
            if (value <= self._limits).all() and (self._best is None or total < self._best[0]):
                self._best = total, levels
        return values

    def polished(self) -> Levels | None:
        """The best one, improved by single changes as long as one helps."""
        costs, targets = Costs(self._problem), self._problem.target_count
        order = [0, *range(1 + targets, 1 + 2 * targets), *range(1, 1 + targets)]
        while self._best is not None:
            levels = self._best[1]
            changes = costs.changes_by_target(np.array([levels]), [self._losses])[0][:, :, order]
            keeps = (np.array(self._values(levels)) + changes <= self._limits).all(axis=2)
            gain = np.where(
                keeps & np.isfinite(changes[:, :, 0]),
                np.nan_to_num(changes, posinf=0.0) @ self._objective,
                np.inf,
            )
            slot, level = np.unravel_index(int(gain.argmin()), gain.shape)
            before = self._best[0]
            self.take([self._problem.canonical((*levels[:slot], int(level), *levels[slot + 1 :]))])
            if self._best[0] >= before:
                return levels
        return None

    def _values(self, levels: Levels) -> tuple[float, ...]:
        loss = additive_loss(self._problem, self._losses, levels)
        return (loss, *self._problem.latencies(levels).tolist(), *self._problem.sizes(levels).tolist())
