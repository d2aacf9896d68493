"""Front: which points are not dominated, and how much of the objective space they cover.

An objective vector is (normalized drop, size ratio, latency ratio), all minimized: the drop divided by
`drop_scale` (5 percentage points for fractions), size and latency divided by those of the float32 original.
The reference point is (1, 1, 1), so that the normalized hypervolume lies in 0..1: a useless front has 0, a
free and instant lossless model 1.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np

Objectives = tuple[float | None, float | None, float | None]
T = TypeVar("T")

FRACTION_SCALE = 0.05


def drop_scale(unit: str, baseline: float) -> float:
    """The drop that ends the objective space, in the metric's unit, > 0: 5 points of a fraction, else 5 % of
    |baseline|.

    A baseline of 0 has no percentage; there it is 1 in the metric's own unit.
    """
    return FRACTION_SCALE if unit == "fraction" else FRACTION_SCALE * abs(baseline) or 1.0


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether `first` is nowhere worse and somewhere better; equal vectors do not dominate each other."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and tuple(first) != tuple(second)


def non_dominated(points: Iterable[T], objectives: Callable[[T], Objectives]) -> list[T]:
    """The points that no other dominates, in their order; equals stay, a point with a missing or NaN
    objective never.
    """
    complete = [(point, vector) for point in points if (vector := _complete(objectives(point))) is not None]
    if not complete:
        return []
    values = np.array([vector for _, vector in complete])
    return [point for (point, _), stays in zip(complete, _mask(values), strict=True) if stays]


def _mask(values: np.ndarray) -> np.ndarray:
    """Which rows of N × 3 are not dominated; rows are visited in lexicographic order, so that only kept ones
    can dominate.
    """
    keep = np.zeros(len(values), dtype=bool)
    for row in np.lexsort(values.T[::-1]):
        kept = values[keep]
        dominated = (kept <= values[row]).all(axis=1) & (kept < values[row]).any(axis=1)
        keep[row] = not dominated.any()
    return keep


def _complete(vector: Objectives) -> tuple[float, float, float] | None:
    """The vector when every objective is a finite number, or None."""
    drop, size, latency = vector
    if drop is None or size is None or latency is None or not np.isfinite((drop, size, latency)).all():
        return None
    return drop, size, latency


def hypervolume(vectors: Iterable[Objectives]) -> float:
    """Normalized hypervolume, 0..1, against the reference point (1, 1, 1).

    Improvements of the metric below a drop of 0 are clipped to 0; points outside the box and incomplete ones
    add nothing.
    """
    complete = [vector for item in vectors if (vector := _complete(item)) is not None]
    inside = np.array([vector for vector in complete if max(vector) < 1.0]).reshape(-1, 3).clip(min=0.0)
    if not len(inside):
        return 0.0
    from optuna._hypervolume import (
        compute_hypervolume,
    )  # private in Optuna 5: this is the one place that knows

    return float(compute_hypervolume(inside, np.ones(3)))


def contributions(vectors: dict[Hashable, Objectives]) -> dict[Hashable, float]:
    """By key, the hypervolume that would be lost without that vector."""
    whole = hypervolume(vectors.values())
    return {
        key: whole - hypervolume(vector for other, vector in vectors.items() if other != key)
        for key in vectors
    }
