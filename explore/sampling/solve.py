"""Solver: the levels that minimize loss + Σₜ λₜ·latencyₜ + Σₜ μₜ·sizeₜ over targets t by dynamic programming.

Min-sum bucket elimination (Dechter, Bucket elimination: a unifying framework for reasoning, 1999): the slots
are eliminated one by one, each by minimizing the sum of all tables that mention it. Where a term couples
neighbouring layers only, as the cost of switching precision does, this is Viterbi's algorithm with the
previous layer's precision as the state, and the dynamic program of SPDY (Frantar & Alistarh, 2022, section 3)
with its time limit moved into a multiplier. Slots that would make the tables too wide (channels that many
layers share, blocks that can go) are *held* at what a coordinate descent over everything found best
(`descent.py`); the exact solution of the others around them is polished once more.

Many problems are solved in one pass: every table has a leading axis of rows, which differ in their prices
(1, λ₁, …, μ₁, …) and in the held levels. The worst of several targets is no sum: `mixtures.py` finds prices.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ..space.problem import LevelProblem, Levels
from .descent import Descent

WIDEST = 30_000  # entries of the largest table of an elimination
_ROWS = 4_000_000  # entries of a table over all rows: more rows are solved in several passes

Losses = Sequence[np.ndarray]


@dataclass(slots=True, eq=False)
class _Table:
    """Terms and losses over one scope; `values` is costs × levels of the held slots × levels of the others.

    The costs are the loss, the latency on each target and the size on each. `free` and `held` are the scope's
    slots, `owners` the slots whose loss is in the table.
    """

    held: tuple[int, ...]
    free: tuple[int, ...]
    values: np.ndarray
    owners: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Bucket:
    """The elimination of one slot: the sum of `tables` and of the `messages` of earlier buckets, minimized
    over its last axis.
    """

    slot: int
    scope: tuple[int, ...]
    tables: list[_Table]
    messages: list[int]
    table_shapes: list[tuple[int, ...]]
    message_shapes: list[tuple[int, ...]]


class Solver:
    """The elimination order of a problem, found once, and its solutions for any losses and multipliers.

    `held` are the slots that are fixed during an elimination; without any, solutions are exact.
    """

    def __init__(self, problem: LevelProblem, *, widest: int = WIDEST):
        self.problem = problem
        self._shape = [slot.levels for slot in problem.slots]
        self._scopes = _scopes(problem)
        self.held, order = _order(tuple(self._shape), tuple(self._scopes), widest)
        self._owned: list[tuple[int, _Table, tuple[list[int], np.ndarray | float]]] = []
        self._constant, self._buckets = self._compile(order)
        self._descent = Descent(problem)
        widths = [_width(bucket.scope, self._shape) for bucket in self._buckets]
        self._width = int(max(widths, default=1))

    def minimize(
        self, losses: Losses, weights: np.ndarray, *, starts: int = 2, rng: np.random.Generator | None = None
    ) -> list[Levels]:
        """By row of `weights`, N × costs prices ≥ 0, the canonical levels of the smallest sum.

        The costs are the loss, the latency on each target and the size on each.

        `losses` has by slot an array over its levels. Where slots are held, `starts` descents begin at the
        original or at random.
        """
        self._load(losses)
        if not self.held:
            return [
                self.problem.canonical(tuple(map(int, row)))
                for row in self._inner(weights, self._no_held(len(weights)))[1]
            ]
        rng = rng or np.random.default_rng(0)
        original = np.tile(np.array(self.problem.original), (len(weights), 1))
        tries = [original, *(rng.integers(0, self._shape, original.shape) for _ in range(starts - 1))]
        rows = self._best(losses, weights, [self._descent.improved(losses, weights, rows) for rows in tries])
        _, levels = self._inner(weights, rows[:, list(self.held)])
        best = self._best(losses, weights, [rows, self._descent.improved(losses, weights, levels, sweeps=2)])
        return [self.problem.canonical(tuple(map(int, row))) for row in best]

    def _best(self, losses: Losses, weights: np.ndarray, tries: Sequence[np.ndarray]) -> np.ndarray:
        """By row the try with the smallest sum, the first of equals; each is N × slots."""
        totals = np.stack([self._descent.totals(losses, weights, rows) for rows in tries])
        return np.asarray(np.stack(tries)[totals.argmin(axis=0), np.arange(len(weights))])

    def _inner(self, weights: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The exact solution given the held levels, N × held: totals N and levels N × slots."""
        rows = max(1, _ROWS // self._width)
        parts = [
            self._eliminate(weights[i : i + rows], held[i : i + rows]) for i in range(0, len(weights), rows)
        ]
        return np.concatenate([total for total, _ in parts]), np.concatenate([levels for _, levels in parts])

    def _eliminate(self, weights: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = len(weights)
        at = {slot: held[:, column] for column, slot in enumerate(self.held)}
        total = sum((_weighted(table, weights, at) for table in self._constant), np.zeros(count))
        messages: list[np.ndarray] = []
        choices: list[np.ndarray] = []
        for bucket in self._buckets:
            table = np.zeros(1)
            for part, spread in zip(bucket.tables, bucket.table_shapes, strict=True):
                table = table + _weighted(part, weights, at).reshape(count, *spread)
            for sender, spread in zip(bucket.messages, bucket.message_shapes, strict=True):
                table = table + messages[sender].reshape(count, *spread)
            choices.append(table.argmin(axis=-1))
            messages.append(table.min(axis=-1))
            if len(bucket.scope) == 1:
                total = total + messages[-1]
        levels = np.empty((count, len(self._shape)), dtype=np.int64)
        levels[:, list(self.held)] = held
        every = np.arange(count)
        for bucket, choice in zip(reversed(self._buckets), reversed(choices), strict=True):
            levels[:, bucket.slot] = choice[(every, *(levels[:, slot] for slot in bucket.scope[:-1]))]
        return total, levels

    def _no_held(self, rows: int) -> np.ndarray:
        return np.empty((rows, 0), dtype=np.int64)

    def _compile(self, order: Sequence[int]) -> tuple[list[_Table], list[_Bucket]]:
        """The tables without free slots, and the buckets in order; messages go to the bucket that eliminates
        their next slot.
        """
        rank = {slot: position for position, slot in enumerate(order)}
        tables: list[list[_Table]] = [[] for _ in order]
        constant: list[_Table] = []
        for scope, values, owner in self._factors():
            held = tuple(slot for slot in scope if slot not in rank)
            free = tuple(sorted((slot for slot in scope if slot in rank), key=lambda slot: -rank[slot]))
            laid = values.transpose(0, *(1 + scope.index(slot) for slot in held + free))
            target = tables[rank[free[-1]]] if free else constant
            _merge(
                target,
                _Table(held, free, np.ascontiguousarray(laid), [] if owner is None else [owner]),
                self._shape,
            )
        buckets: list[_Bucket] = []
        inbox: list[list[int]] = [[] for _ in order]
        for position, slot in enumerate(order):
            mentioned = {s for table in tables[position] for s in table.free} | {slot}
            mentioned |= {s for sender in inbox[position] for s in buckets[sender].scope[:-1]}
            scope = tuple(sorted(mentioned, key=lambda s: -rank[s]))
            spreads = [_spread(table.free, scope, self._shape) for table in tables[position]]
            senders = [_spread(buckets[sender].scope[:-1], scope, self._shape) for sender in inbox[position]]
            buckets.append(_Bucket(slot, scope, tables[position], inbox[position], spreads, senders))
            if len(scope) > 1:
                inbox[rank[scope[-2]]].append(position)
        for table in [*constant, *(table for bucket in buckets for table in bucket.tables)]:
            self._owned += [(owner, table, self._opened(owner, table)) for owner in table.owners]
        return constant, buckets

    def _factors(self) -> list[tuple[tuple[int, ...], np.ndarray, int | None]]:
        """Scope, costs × levels, and whose loss it is, the widest scopes first; losses come later."""
        factors: list[tuple[tuple[int, ...], np.ndarray, int | None]] = []
        for term in self.problem.terms:
            no_loss = np.zeros((1, *term.latency.shape[1:]))
            factors.append((term.scope, np.concatenate([no_loss, term.latency, term.size]), None))
        costs = 1 + 2 * self.problem.target_count
        for position, scope in enumerate(self._scopes[len(self.problem.terms) :]):
            factors.append((scope, np.zeros((costs, *(self._shape[slot] for slot in scope))), position))
        return sorted(factors, key=lambda factor: -len(factor[0]))

    def _load(self, losses: Losses) -> None:
        """Puts the losses into the tables: a slot behind a closed gate costs nothing."""
        for _, table, _ in self._owned:
            table.values[0] = 0.0
        for position, table, (shape, opened) in self._owned:
            table.values[0] += np.asarray(losses[position], dtype=float).reshape(shape) * opened

    def _opened(self, position: int, table: _Table) -> tuple[list[int], np.ndarray | float]:
        """How the slot's losses lie in the table: their shape there, and where the slot's gates are open."""
        slots = table.held + table.free
        opened: np.ndarray | float = 1.0
        for gate, level in self.problem.slots[position].gates:
            mask = np.arange(self._shape[gate]) != level
            opened = opened * mask.reshape(_along(gate, slots))
        return _along(position, slots), opened


def _along(axis_slot: int, slots: Sequence[int]) -> list[int]:
    """The shape of an array over one slot's levels that broadcasts over a table of these slots."""
    return [-1 if slot == axis_slot else 1 for slot in slots]


def additive_loss(problem: LevelProblem, losses: Losses, levels: Levels) -> float:
    """The sum of the losses of the slots that are not behind a closed gate."""
    pairs = enumerate(problem.slots)
    opened = [position for position, slot in pairs if not slot.closed_gates(levels)]
    return float(sum(losses[position][levels[position]] for position in opened))


def _scopes(problem: LevelProblem) -> list[tuple[int, ...]]:
    """The scope of every term, then of every slot's loss: the slot and its gates."""
    of_losses = []
    for position, slot in enumerate(problem.slots):
        gates = [gate for gate, _ in slot.gates]
        of_losses.append(tuple(dict.fromkeys((position, *gates))))
    return [*(term.scope for term in problem.terms), *of_losses]


@lru_cache(maxsize=8)
def _order(
    shape: tuple[int, ...], scopes: tuple[tuple[int, ...], ...], widest: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The slots to hold, and the order of elimination of the others, the smallest next table first.

    While some table has more than `widest` entries, the slot with the most neighbours in it is held.
    """
    held: list[int] = []
    while True:
        neighbours = {slot: {slot} for slot in range(len(shape)) if slot not in held}
        for scope in scopes:
            free = [slot for slot in scope if slot in neighbours]
            for slot in free:
                neighbours[slot].update(free)
        order: list[int] = []
        degrees = {slot: len(near) for slot, near in neighbours.items()}
        worst = _eliminate_all(neighbours, shape, order, widest)
        if worst is None:
            return tuple(held), tuple(order)
        held.append(max(worst, key=lambda slot: (degrees[slot], shape[slot], -slot)))


def _eliminate_all(
    neighbours: dict[int, set[int]], shape: Sequence[int], order: list[int], widest: int
) -> set[int] | None:
    """Fills `order`; returns the scope of the first table that is too wide, or None."""
    widths = {slot: _width(near, shape) for slot, near in neighbours.items()}
    while neighbours:
        slot = min(neighbours, key=lambda s: (widths[s], s))
        if widths[slot] > widest:
            return neighbours[slot]
        scope = neighbours.pop(slot)
        order.append(slot)
        for other in scope - {slot}:
            neighbours[other] = (neighbours[other] | scope) - {slot}
            widths[other] = _width(neighbours[other], shape)
    return None


def _width(scope: Iterable[int], shape: Sequence[int]) -> float:
    """The number of entries of a table over these slots."""
    return math.prod((shape[slot] for slot in scope), start=1.0)


def _merge(target: list[_Table], table: _Table, shape: Sequence[int]) -> None:
    """Adds the table to one that mentions all its slots, or appends it."""
    slots = table.held + table.free
    for other in target:
        wider = other.held + other.free
        if set(slots) <= set(wider):
            order = sorted(range(len(slots)), key=lambda i: wider.index(slots[i]))
            laid = table.values.transpose(0, *(1 + i for i in order))
            other.values += laid.reshape(len(laid), *_spread(slots, wider, shape))
            other.owners += table.owners
            return
    target.append(table)


def _spread(scope: tuple[int, ...], onto: tuple[int, ...], shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a table over `scope` that broadcasts over `onto`; both have the same order."""
    return tuple(shape[slot] if slot in scope else 1 for slot in onto)


def _weighted(table: _Table, weights: np.ndarray, at: dict[int, np.ndarray]) -> np.ndarray:
    """N × entries: the weighted sum of the costs, at the held levels of each row; N without free slots."""
    costs = len(table.values)
    if not table.held:
        return np.asarray(weights @ (table.values.reshape(costs, -1) if table.free else table.values))
    index: tuple[Any, ...] = (slice(None), *(at[slot] for slot in table.held))
    sums = np.einsum("nk,knf->nf", weights, table.values[index].reshape(costs, len(weights), -1))
    return np.asarray(sums if table.free else sums[:, 0])
