"""Moves: what every change of a candidate adds, and neighbours that exchange levels at matched cost. numpy
only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..space.problem import LevelProblem

_FIRST = 48  # changes that are completed by a second one
_MATCHED = 2.0  # how much dearer a difference in cost is for a balanced pair
MOST = 4  # slots that a move changes


class Costs:
    """Size and latency of many candidates at once, and of every single change of one.

    Both are those of the target that counts (`LevelProblem.counted`), where nothing else is said.
    """

    def __init__(self, problem: LevelProblem):
        self._problem = problem
        terms = [(term.scope, np.concatenate([term.size, term.latency])) for term in problem.terms]
        self._targets = problem.target_count
        constants = (values for scope, values in terms if not scope)
        self._constant = sum(constants, np.zeros(2 * self._targets))
        self._terms = [(scope, values) for scope, values in terms if scope]
        self._widest = max(slot.levels for slot in problem.slots)
        self.exists = np.arange(self._widest) < np.array([[slot.levels] for slot in problem.slots])
        self._lines = [
            (slot, scope[:axis] + scope[axis + 1 :], np.moveaxis(values, 1 + axis, -1))
            for scope, values in self._terms
            for axis, slot in enumerate(scope)
        ]
        self._behind: dict[int, list[tuple[int, int]]] = {}
        for position, slot in enumerate(problem.slots):
            for gate, level in slot.gates:
                self._behind.setdefault(gate, []).append((position, level))

    def many(self, levels: np.ndarray) -> np.ndarray:
        """N × (size, latency) of N × slots levels."""
        return self._problem.counted(self.by_target(levels))

    def by_target(self, levels: np.ndarray) -> np.ndarray:
        """N × (size, latency) × targets of N × slots levels."""
        total = np.tile(self._constant, (len(levels), 1)).T
        for scope, values in self._terms:
            at: tuple[Any, ...] = (slice(None), *(levels[:, slot] for slot in scope))
            total = total + values[at]
        return np.asarray(total.T).reshape(len(levels), 2, self._targets)

    def canonical(self, levels: np.ndarray) -> np.ndarray:
        """`Problem.canonical` by row of N × slots levels."""
        made = levels.copy()
        for gate, behind in self._behind.items():
            for position, level in behind:
                made[levels[:, gate] == level, position] = self._problem.slots[position].original
        return made

    def changes(self, levels: np.ndarray, losses: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """N × slots × levels × (loss, size, latency): what setting one slot adds to each of N × slots levels.

        `losses` has a table of losses by slot for each candidate. 0 for the present level, infinite past a
        slot's last.
        """
        table = self.changes_by_target(levels, losses)
        costs = self.by_target(levels)
        changed = table[..., 1:].reshape(*table.shape[:3], *costs.shape[1:]) + costs[:, None, None]
        counted = self._problem.counted(changed)  # another target may count after the change
        return np.concatenate([table[..., :1], counted - self.many(levels)[:, None, None]], axis=3)

    def changes_by_target(self, levels: np.ndarray, losses: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """The same with the loss, the size on each target and the latency on each as the last axis."""
        table = np.full((len(levels), levels.shape[1], self._widest, 1 + 2 * self._targets), np.inf)
        table[:, self.exists] = 0.0
        for slot, others, values in self._lines:
            at: tuple[Any, ...] = (slice(None), *(levels[:, other] for other in others))
            line = values[at] if others else values[:, None]
            table[:, slot, : line.shape[2], 1:] += line.transpose(1, 2, 0)
        present = (np.arange(len(levels))[:, None], np.arange(levels.shape[1]), levels)
        table[..., 1:] -= table[present][:, :, None, 1:]
        table[:, ~self.exists] = np.inf
        for row, (candidate, by_slot) in enumerate(zip(levels.tolist(), losses, strict=True)):
            self._add_losses(table[row, :, :, 0], candidate, by_slot)
        return table

    def _add_losses(self, table: np.ndarray, levels: Sequence[int], losses: Sequence[np.ndarray]) -> None:
        """Adds the loss of every single change to slots × levels."""
        slots = self._problem.slots
        closed = [slot.closed_gates(levels) for slot in slots]
        for slot, loss in enumerate(losses):
            if not closed[slot]:
                table[slot, : len(loss)] += loss - loss[levels[slot]]
        for gate, behind in self._behind.items():
            for position, level in behind:
                lost = losses[position][levels[position]]
                if not closed[position]:
                    table[gate, level] -= lost
                elif closed[position] == 1 and levels[gate] == level:
                    table[gate, : slots[gate].levels] += lost
                    table[gate, level] -= lost


def neighbours(
    levels: np.ndarray, changes: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """About `count` changed candidates, M × slots.

    `changes` is a row of `Costs.changes`, that of `levels`; `weights` are multipliers of (loss, size,
    latency) that fit where the candidate lies. A third are pairs of changes that balance each other's cost, a
    third up to MOST changes that pay by these weights, a third single changes, large random ones among them.
    """
    slots, level = np.nonzero(
        np.isfinite(changes[:, :, 0]) & (np.arange(changes.shape[1]) != levels[:, None])
    )
    single = changes[slots, level]
    moves = _balanced(slots, single, weights, count // 3, rng)
    moves += _paying(slots, single @ weights, count // 3, rng)
    moves += [[int(move)] for move in rng.choice(len(slots), min(len(slots), count // 4), replace=False)]
    for _ in range(count // 12):
        size = int(rng.integers(2, 2 + max(4, len(levels) // 8)))
        moves.append(rng.choice(len(slots), min(len(slots), size)).tolist())
    made = np.tile(levels, (len(moves), 1))
    for row, move in enumerate(moves):
        made[row, slots[move]] = level[move]
    return made


def _balanced(
    slots: np.ndarray, single: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator
) -> list[list[int]]:
    """Pairs, and pairs of pairs, whose size and latency nearly cancel while the loss falls most."""
    if len(slots) < 2:
        return []
    first = rng.choice(len(slots), min(len(slots), _FIRST), replace=False)
    both = single[first][:, None, :] + single[None, :, :]
    priced = both[:, :, 0] * weights[0] + _MATCHED * (
        np.abs(both[:, :, 1]) * weights[1] + np.abs(both[:, :, 2]) * weights[2]
    )
    scale = np.abs(single @ weights).mean() + 1e-12
    score = priced / scale + rng.gumbel(0.0, 0.3, priced.shape)
    score[slots[first][:, None] == slots[None, :]] = np.inf
    pairs = [[int(a), int(b)] for a, b in zip(first, score.argmin(axis=1), strict=True)]
    pairs = [pairs[i] for i in np.argsort(score.min(axis=1))]
    best = pairs[: max(1, count // 2)]
    joined = [best[i] + best[j] for i, j in rng.integers(0, len(best), (count // 2, 2)) if i != j]
    return best + joined


def _paying(slots: np.ndarray, priced: np.ndarray, count: int, rng: np.random.Generator) -> list[list[int]]:
    """One to MOST changes of different slots, those likelier that lower the weighted sum."""
    scale = np.abs(priced).mean() * 10 ** rng.uniform(-2.0, 0.0, (count, 1)) + 1e-12
    order = np.argsort((priced / scale) + rng.gumbel(size=(count, len(priced))), axis=1)[:, :MOST].tolist()
    return [row[:size] for row, size in zip(order, rng.integers(1, MOST + 1, count).tolist(), strict=True)]
