"""LevelProblem: the levels that a sampler chooses, and the terms of a candidate's size and latency on each
target. No torch, no Optuna.

A candidate is a tuple of levels, one per slot. Every term depends on a few slots only (a layer: the channels
on both of its sides, its precision, the blocks whose removal takes it away), so that a sum over terms can be
minimized by dynamic programming. A candidate counts with its worst target: the largest of the sums. Of
alternatives (runtimes of one device) it counts with the one where its latency is least.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Levels = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A parameter of a trial whose value is a level, 0 … levels - 1. `name` is the parameter's: `keep/conv1`,
    `skip/layer1.0`.

    `original` is the level that leaves the model as it is. `gates` are (slot, level) pairs that make this
    slot's level irrelevant: the blocks whose removal takes its layers away. A gate has a loss of its own.
    """

    name: str
    levels: int
    original: int
    gates: tuple[tuple[int, int], ...] = ()

    def closed_gates(self, levels: Sequence[int]) -> int:
        """How many of the gates are closed at these levels of all slots."""
        return sum(levels[gate] == level for gate, level in self.gates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What one part of the model adds: `size` and `latency` are targets × levels of each slot in `scope`.

    Both are relative to the original model's on the same target. A term of no slots (scope ()) is a constant.
    """

    scope: tuple[int, ...]
    size: np.ndarray
    latency: np.ndarray

    def __post_init__(self) -> None:
        if self.size.shape != self.latency.shape or self.size.ndim != 1 + len(self.scope):
            shapes = f"{self.size.shape} and {self.latency.shape}"
            raise ValueError(f"size and latency must be targets × levels of {self.scope}, not {shapes}.")


@dataclass(frozen=True)
class LevelProblem:
    """Slots, and the terms of one or more targets, which may be `alternatives`.

    `terms` may be exchanged (`dataclasses.replace`) when a latency table learns something.
    """

    slots: tuple[Slot, ...]
    terms: tuple[Term, ...]
    alternatives: bool = False

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The slots' positions by name."""
        return {slot.name: position for position, slot in enumerate(self.slots)}

    @property
    def original(self) -> Levels:
        """The levels of the original model."""
        return tuple(slot.original for slot in self.slots)

    @property
    def target_count(self) -> int:
        """How many targets the terms are of."""
        return len(self.terms[0].size) if self.terms else 1

    def size(self, levels: Levels) -> float:
        """The size of a candidate relative to the original's, on the target that counts."""
        return float(self.counted(np.stack([self.sizes(levels), self.latencies(levels)]))[0])

    def latency(self, levels: Levels) -> float:
        """The predicted latency relative to the original's, on the target that counts."""
        return float(self.counted(np.stack([self.sizes(levels), self.latencies(levels)]))[1])

    def counted(self, costs: np.ndarray) -> np.ndarray:
        """… × (size, latency) of … × (size, latency) × targets: the largest of each; of alternatives, both
        where the latency is least.
        """
        if not self.alternatives:
            return np.asarray(costs.max(axis=-1))
        fastest = costs[..., 1:, :].argmin(axis=-1, keepdims=True)
        return np.take_along_axis(costs, fastest, axis=-1)[..., 0]

    def sizes(self, levels: Levels) -> np.ndarray:
        """The size of a candidate by target, relative to the original's."""
        return np.asarray(sum(term.size[_entry(term, levels)] for term in self.terms))

    def latencies(self, levels: Levels) -> np.ndarray:
        """The predicted latency of a candidate by target, relative to the original's."""
        return np.asarray(sum(term.latency[_entry(term, levels)] for term in self.terms))

    def canonical(self, levels: Levels) -> Levels:
        """The same candidate with the irrelevant levels (those behind a closed gate) at the original's."""
        pairs = zip(self.slots, levels, strict=True)
        return tuple(slot.original if slot.closed_gates(levels) else level for slot, level in pairs)

    @cached_property
    def gates(self) -> tuple[tuple[int, int], ...]:
        """Every (slot, level) that closes a gate."""
        return tuple(dict.fromkeys(gate for slot in self.slots for gate in slot.gates))

    def closed(self, rows: np.ndarray) -> np.ndarray:
        """Which rows of N × slots have a closed gate."""
        closed = np.zeros(len(rows), dtype=bool)
        for slot, level in self.gates:
            closed |= rows[:, slot] == level
        return closed

    def levels_of(self, parameters: Mapping[str, float]) -> Levels:
        """The levels among a trial's parameters. KeyError when one is missing."""
        return tuple(int(parameters[slot.name]) for slot in self.slots)

    def parameters(self, levels: Sequence[int]) -> dict[str, int]:
        """The trial parameters of these levels."""
        return {slot.name: int(level) for slot, level in zip(self.slots, levels, strict=True)}


def _entry(term: Term, levels: Levels) -> tuple[slice | int, ...]:
    """The index of a candidate's entries, one for each target."""
    return (slice(None), *(levels[slot] for slot in term.scope))
