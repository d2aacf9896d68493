"""Observations: the candidates that were observed, and which of them no other dominates. numpy only."""

from dataclasses import dataclass

import numpy as np

from ..space.problem import Levels
from .losses import DropCurve

Vector = tuple[float, float, float]


@dataclass(slots=True, eq=False)
class Observation:
    """A candidate that was observed. `loss` is its KL, `vector` (normalized drop, size, latency); either may
    be missing.

    `costs` are its predicted (size, latency), `weights` the prices of (loss, latency, size) that led to it,
    `closed` whether a gate is closed.
    """

    levels: Levels
    costs: tuple[float, float]
    loss: float | None
    vector: Vector | None
    recovered: bool
    weights: np.ndarray | None = None
    closed: bool = False


class Observations:
    """Candidates by their canonical levels, in the order in which they were first observed."""

    def __init__(self) -> None:
        self._rows: dict[Levels, int] = {}
        self.entries: list[Observation] = []

    def get(self, levels: Levels) -> Observation | None:
        """What is known of a candidate, or None."""
        row = self._rows.get(levels)
        return None if row is None else self.entries[row]

    def add(self, observation: Observation) -> Observation:
        """What is known of the candidate now: of two vectors that with the smaller drop stays."""
        row = self._rows.setdefault(observation.levels, len(self.entries))
        if row == len(self.entries):
            self.entries.append(observation)
        else:
            self.entries[row] = _joined(self.entries[row], observation)
        return self.entries[row]

    def measured(self) -> np.ndarray:
        """All measured vectors, N × 3."""
        return np.array([entry.vector for entry in self.entries if entry.vector is not None]).reshape(-1, 3)

    def vectors(self, curve: DropCurve) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the entries with a measured vector or, given their KL, a predicted one; and these
        vectors, N × 3.
        """
        vectors = np.full((len(self.entries), 3), np.nan)
        waiting = [
            row for row, entry in enumerate(self.entries) if entry.vector is None and entry.loss is not None
        ]
        if waiting:
            losses = np.array([self.entries[row].loss for row in waiting], dtype=float)
            drops = curve.many(losses, np.array([self.entries[row].closed for row in waiting]))
            vectors[waiting] = np.column_stack([drops, [self.entries[row].costs for row in waiting]])
        for row, entry in enumerate(self.entries):
            if entry.vector is not None:
                vectors[row] = entry.vector
        rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        return rows, vectors[rows]


def front_rows(vectors: np.ndarray) -> list[int]:
    """The rows of N × 3 vectors that no other dominates; of equals one stays."""
    remaining, front = np.argsort(vectors.sum(axis=1)), []
    while len(remaining):
        first, remaining = int(remaining[0]), remaining[1:]
        front.append(first)
        remaining = remaining[(vectors[remaining] < vectors[first]).any(axis=1)]
    return front


def _joined(before: Observation, after: Observation) -> Observation:
    loss = before.loss if after.loss is None else after.loss
    first = before.vector is not None and (after.vector is None or before.vector[0] <= after.vector[0])
    vector, recovered = (before.vector, before.recovered) if first else (after.vector, after.recovered)
    return Observation(before.levels, after.costs, loss, vector, recovered, before.weights, before.closed)
