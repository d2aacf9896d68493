"""Islands: runs of layers, in the order in which they run, that compute in integers beside others in float32.

Every switch between the two costs time, so that integer layers pay in one piece or not at all. Which piece
does is the latency table's to say: on a depthwise network the first layers cost twice their float32 time in
int8, the last ones half. A layer's *twin* has the same bits and computes in the other way: int4 and w4, int8
and w8, or int8 and float32 where weights cannot be stored in fewer bits. numpy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...compress.recipe import INTEGER, SPARSE, STORED, Precision
from .problem import LevelProblem


@dataclass(frozen=True, slots=True)
class Islands:
    """By layer in order of execution: its slot, and by level the one that computes in integers and the one
    that computes in float32 (the level itself where there is no other).
    """

    slots: np.ndarray
    integer: tuple[np.ndarray, ...]
    floating: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, problem: LevelProblem, precisions: Mapping[str, Sequence[Precision]]) -> "Islands":
        """Those of a space, layers in order of execution; layers without such a choice are left out."""
        index = {slot.name: at for at, slot in enumerate(problem.slots)}
        slots, integer, floating = [], [], []
        for name, choices in precisions.items():
            if f"precision/{name}" in index and INTEGER & set(choices):
                slots.append(index[f"precision/{name}"])
                integer.append(np.array([choices.index(as_integers(kind, choices)) for kind in choices]))
                floating.append(np.array([choices.index(as_floats(kind, choices)) for kind in choices]))
        return cls(np.array(slots, dtype=np.int64), tuple(integer), tuple(floating))

    def __len__(self) -> int:
        return len(self.slots)

    def flipped(self, levels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """About `count` candidates in which a run of layers computes in integers or in float32, M × slots.

        A third of the runs begin with the first layer, a third end with the last.
        """
        made = np.tile(levels, (count if len(self) else 0, 1))
        for row, other in enumerate(made):
            first, end = np.sort(rng.choice(len(self) + 1, 2, replace=False))
            side = rng.integers(3)
            first, end = (0 if side == 0 else first), (len(self) if side == 1 else end)
            made[row] = self.run(other, int(first), int(end), integer=bool(rng.integers(2)))
        return np.asarray(made[(made != levels).any(axis=1)])

    def run(self, levels: np.ndarray, first: int, end: int, *, integer: bool) -> np.ndarray:
        """The levels with the layers from `first` up to `end` computing in one way, their bits kept."""
        made, twins = levels.copy(), self.integer if integer else self.floating
        for at in range(first, end):
            made[self.slots[at]] = twins[at][made[self.slots[at]]]
        return made

    def all_of(self, levels: np.ndarray, *, most: int = 600) -> np.ndarray:
        """Every candidate in which one run of layers computes in integers and the others in float32.

        Of many layers about `most`, with ends at equal distances.
        """
        stride = max(1, int(np.ceil(len(self) / np.sqrt(2 * most))))
        cuts = [*range(0, len(self), stride), len(self)]
        outside = self.run(levels, 0, len(self), integer=False)
        runs = [(first, end) for first in cuts for end in cuts if first < end]
        return np.array([self.run(outside, *run, integer=True) for run in runs]).reshape(-1, len(levels))


def as_integers(precision: Precision, choices: Sequence[Precision]) -> Precision:
    """The same bits in integer arithmetic, if a layer has them."""
    twin = "int8" if precision == "float32" else precision.replace("w", "int")
    chosen: Precision = next((kind for kind in choices if kind == twin), precision)
    return chosen if precision in STORED or precision == "float32" else precision


def as_floats(precision: Precision, choices: Sequence[Precision]) -> Precision:
    """The same bits in float32 arithmetic: only stored, or else float32 itself."""
    if precision not in INTEGER - SPARSE:
        return precision
    twin = precision.replace("int", "w")
    return next((kind for kind in choices if kind == twin), "float32")
