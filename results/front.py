"""Front: which points are not dominated, and how much of the objective space they cover.

An objective vector is (normalized drop, size ratio, latency ratio), all minimized: the drop divided by
`drop_scale` (5 percentage points for fractions), size and latency divided by those of the float32 original.
The reference point is (1, 1, 1), so that the normalized hypervolume lies in 0..1: a useless front has 0, a
free and instant lossless model 1. moocore computes dominance and hypervolume (Guerreiro, Fonseca, Paquete,
"The Hypervolume Indicator", 2021).
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Vector = tuple[float, float, float]
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

FRACTION_SCALE = 0.05
_REFERENCE = np.ones(3)


def drop_scale(unit: str, baseline: float, *, limit: float | None = None) -> float:
    """The drop that ends the objective space, in the metric's unit, > 0: 5 points of a fraction, else 5 % of
    |baseline|.

    Where |baseline| is less than the `limit` of the drop, a share of it says nothing, and the limit is the
    end. A baseline of 0 without a limit has 1 in the metric's own unit.
    """
    if unit == "fraction":
        return FRACTION_SCALE
    if limit is not None and abs(baseline) < limit:
        return limit
    return FRACTION_SCALE * abs(baseline) or 1.0


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether `first` is nowhere worse and somewhere better; equal vectors do not dominate each other."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and tuple(first) != tuple(second)


def non_dominated(points: Sequence[T], objectives: Callable[[T], Vector]) -> list[T]:
    """The points that no other dominates, in their order; equals stay."""
    from moocore import is_nondominated

    if not points:
        return []
    values = np.array([objectives(point) for point in points], dtype=float)
    stays = is_nondominated(values, keep_weakly=True)
    return [point for point, keep in zip(points, stays, strict=True) if keep]


def hypervolume(vectors: Iterable[Vector]) -> float:
    """Normalized hypervolume, 0..1, against the reference point (1, 1, 1).

    Improvements of the metric below a drop of 0 are clipped to 0; points outside the box add nothing.
    """
    from moocore import hypervolume as volume

    inside = _inside(list(vectors))
    return float(volume(inside, ref=_REFERENCE)) if len(inside) else 0.0


def contributions(vectors: Mapping[K, Vector]) -> dict[K, float]:
    """By key, the hypervolume that would be lost without that vector; 0 for one outside the box."""
    from moocore import hv_contributions

    inside = {key: vector for key, vector in vectors.items() if max(vector) < 1.0}
    if not inside:
        return dict.fromkeys(vectors, 0.0)
    volumes = hv_contributions(_inside(list(inside.values())), ref=_REFERENCE)
    return dict.fromkeys(vectors, 0.0) | dict(zip(inside, map(float, volumes), strict=True))


def _inside(vectors: Sequence[Vector]) -> np.ndarray:
    """The vectors inside the box, N × 3, clipped at 0."""
    return np.array([vector for vector in vectors if max(vector) < 1.0]).reshape(-1, 3).clip(min=0.0)
