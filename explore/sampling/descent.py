"""Coordinate descent over all slots of a problem, for many multipliers at once: each slot in turn takes its
best level.

It finds the levels of the slots that `solve.py` holds, and polishes its solutions. Source: Besag, "On the
Statistical Analysis of Dirty Pictures" (1986), iterated conditional modes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..space.problem import LevelProblem

SWEEPS = 8
_LEAST = 1e-12


@dataclass(slots=True, eq=False)
class _Mention:
    """A term seen from one slot: (latency by target, size by target) × levels of the other slots of its scope
    × levels of the slot.
    """

    others: tuple[int, ...]
    values: np.ndarray


class Descent:
    """The descent on one problem. Rows are candidates, N × slots."""

    def __init__(self, problem: LevelProblem):
        self.problem = problem
        self._mentions: list[list[_Mention]] = [[] for _ in problem.slots]
        for term in problem.terms:
            stacked = np.concatenate([term.latency, term.size])
            for axis, slot in enumerate(term.scope):
                others = tuple(other for other in term.scope if other != slot)
                self._mentions[slot].append(
                    _Mention(others, np.ascontiguousarray(np.moveaxis(stacked, 1 + axis, -1)))
                )
        self._gated: list[list[tuple[int, int]]] = [[] for _ in problem.slots]
        for position, gated in enumerate(problem.slots):
            for gate, level in gated.gates:
                self._gated[gate].append((position, level))

    def improved(
        self, losses: Sequence[np.ndarray], weights: np.ndarray, levels: np.ndarray, *, sweeps: int = SWEEPS
    ) -> np.ndarray:
        """The levels after at most `sweeps` passes; `weights` are N × costs, as of `Solver`."""
        levels, every = levels.copy(), np.arange(len(levels))
        for _ in range(sweeps):
            moved = False
            for slot in range(levels.shape[1]):
                costs = self._costs(slot, losses, weights, levels)
                best = costs.argmin(axis=1)
                better = costs[every, best] < costs[every, levels[:, slot]] - _LEAST
                moved |= bool(better.any())
                levels[better, slot] = best[better]
            if not moved:
                break
        return levels

    def totals(self, losses: Sequence[np.ndarray], weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """The weighted sum of each row, N."""
        total = np.zeros(len(levels))
        for term in self.problem.terms:
            index = tuple(levels[:, slot] for slot in term.scope)
            costs = [values[index] for values in (*term.latency, *term.size)]
            total += sum(weights[:, 1 + row] * values for row, values in enumerate(costs))
        for slot in range(levels.shape[1]):
            total += weights[:, 0] * np.asarray(losses[slot])[levels[:, slot]] * self._open(slot, levels)
        return total

    def _costs(
        self, slot: int, losses: Sequence[np.ndarray], weights: np.ndarray, levels: np.ndarray
    ) -> np.ndarray:
        """N × levels of the slot: what depends on it, the other slots as they are."""
        costs = weights[:, :1] * np.asarray(losses[slot])[None, :] * self._open(slot, levels)[:, None]
        for mention in self._mentions[slot]:
            index = tuple(levels[:, other] for other in mention.others)
            for row, values in enumerate(mention.values, 1):
                costs = costs + weights[:, row : row + 1] * values[index]
        for position, closed in self._gated[slot]:
            gated = (
                weights[:, 0]
                * np.asarray(losses[position])[levels[:, position]]
                * self._open(position, levels, but=slot)
            )
            opened = np.arange(costs.shape[1]) != closed
            costs = costs + gated[:, None] * opened
        return np.asarray(costs)

    def _open(self, slot: int, levels: np.ndarray, *, but: int = -1) -> np.ndarray:
        """1 where every gate of the slot (one aside) is open, else 0."""
        opened = np.ones(len(levels))
        for gate, level in self.problem.slots[slot].gates:
            if gate != but:
                opened *= levels[:, gate] != level
        return opened
