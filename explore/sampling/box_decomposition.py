"""BoxDecomposition: the part of the objective space that a front leaves undominated, cut into boxes, to score
many candidates exactly.

In three dimensions a front of n points leaves at most 2n + 1 boxes (Lacour, Klamroth & Fonseca, A box
decomposition algorithm to compute the hypervolume indicator, 2017). Here they come from a sweep along the
last objective: the undominated part of a plane is a staircase of strips, and a new point ends those that it
cuts.
"""

from collections.abc import Sequence

import numpy as np


class BoxDecomposition:
    """The undominated part of the box [0, limits] given a front, N × 3 vectors, all minimized. Not for
    changing.
    """

    def __init__(self, front: np.ndarray, limits: Sequence[float]):
        self.limits = np.asarray(limits, dtype=float)
        self._low, self._high = _undominated(
            np.asarray(front, dtype=float).reshape(-1, 3).clip(min=0.0), self.limits
        )

    def gains(self, vectors: np.ndarray) -> np.ndarray:
        """By row of N × 3 vectors, the hypervolume that it alone would add, as a share of the box; below 0
        counts as 0.
        """
        sides = self._high - np.maximum(self._low, np.asarray(vectors, dtype=float).clip(min=0.0)[:, None, :])
        return np.asarray(sides.clip(min=0.0).prod(axis=2).sum(axis=1) / self.limits.prod())


def _undominated(front: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corners of disjoint boxes, each M × 3."""
    strips = [(0.0, float(limits[0]), float(limits[1]), 0.0)]  # x from, x to, y to, z from; ordered by x
    cut: list[tuple[float, float, float, float, float]] = []
    inside = front[(front < limits).all(axis=1)]
    for x, y, z in sorted(map(tuple, inside.tolist()), key=lambda vector: (vector[2], vector[0], vector[1])):
        first = next((i for i, strip in enumerate(strips) if strip[1] > x), None)
        if first is None or strips[first][2] <= y:
            continue
        last = first
        while last < len(strips) and strips[last][2] > y:
            cut.append((*strips[last][:3], strips[last][3], z))
            last += 1
        start, end = strips[first][0], strips[last - 1][1]
        made = [(start, x, strips[first][2], z)] if start < x else []
        strips[first:last] = [*made, (x, end, y, z)]
    cut += [(*strip, float(limits[2])) for strip in strips]
    sides = np.array([box for box in cut if box[3] < box[4]])
    low = np.stack([sides[:, 0], np.zeros(len(sides)), sides[:, 3]], axis=1)
    return low, np.stack([sides[:, 1], sides[:, 2], sides[:, 4]], axis=1)
