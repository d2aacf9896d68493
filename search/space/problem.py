"""Problem: the levels that a sampler chooses, and the terms that add up to a candidate's size and latency. No
torch, no Optuna.

A candidate is a tuple of levels, one per slot. Every term depends on a few slots only (a layer: the channels
on both of its sides, its precision, the blocks whose removal takes it away), so that a sum over terms can be
minimized by dynamic programming.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What one part of the model adds: `size` and `latency` are arrays over the levels of the slots in
    `scope` (indices).

    Both are relative to the original model's. A term of no slots (scope ()) is a constant.
    """

    scope: tuple[int, ...]
    size: np.ndarray
    latency: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Slots and terms. `terms` may be exchanged (`dataclasses.replace`) when the latency table learns
    something.
    """

    slots: tuple[Slot, ...]
    terms: tuple[Term, ...]

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The slots' positions by name."""
        return {slot.name: position for position, slot in enumerate(self.slots)}

    @property
    def original(self) -> Levels:
        """The levels of the original model."""
        return tuple(slot.original for slot in self.slots)

    def size(self, levels: Levels) -> float:
        """The size of a candidate relative to the original's."""
        return float(sum(term.size[tuple(levels[slot] for slot in term.scope)] for term in self.terms))

    def latency(self, levels: Levels) -> float:
        """The predicted latency of a candidate relative to the original's."""
        return float(sum(term.latency[tuple(levels[slot] for slot in term.scope)] for term in self.terms))

    def canonical(self, levels: Levels) -> Levels:
        """The same candidate with the irrelevant levels (those behind a closed gate) at the original's."""
        return tuple(
            slot.original if any(levels[gate] == level for gate, level in slot.gates) else levels[position]
            for position, slot in enumerate(self.slots)
        )

    @cached_property
    def gates(self) -> tuple[tuple[int, int], ...]:
        """Every (slot, level) that closes a gate."""
        return tuple(dict.fromkeys(gate for slot in self.slots for gate in slot.gates))

    def closed(self, rows: np.ndarray) -> np.ndarray:
        """Which rows of N × slots have a closed gate."""
        found = np.zeros(len(rows), dtype=bool)
        for slot, level in self.gates:
            found |= rows[:, slot] == level
        return found

    def levels_of(self, parameters: Mapping[str, float]) -> Levels:
        """The levels among a trial's parameters. KeyError when one is missing."""
        return tuple(int(parameters[slot.name]) for slot in self.slots)

    def parameters(self, levels: Sequence[int]) -> dict[str, int]:
        """The trial parameters of these levels."""
        return {slot.name: int(level) for slot, level in zip(self.slots, levels, strict=True)}
