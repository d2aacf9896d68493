"""Rungs: r0 stitched KL, r1 the measured artifact, r2 a short and r3 a long recovery; who goes up, and how
well rungs agree.

A candidate goes up when no other is expected to dominate it, the largest expected hypervolume first. Bands
of latency take turns, so that one lucky corner does not get everything.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...results.front import non_dominated
from ..sampling.box_decomposition import BoxDecomposition

Vector = tuple[float, float, float]

BANDS = 3  # of latency, which take turns
LOW_CORRELATION = 0.5
LEAST_PAIRS = 5  # to judge a correlation by
_FLOOR = 0.01  # normalized drops below are noise
_PRIOR_WEIGHT = 1.0  # recoveries that the prior of the curve counts for


def promoted(
    vectors: Sequence[Vector],
    front: Sequence[Vector],
    *,
    turn: int,
    limits: Sequence[float] = (1.0, 1.0, 1.0),
) -> int | None:
    """The index of the candidate to promote, None when none is expected to add to the front.

    `vectors` are expected objectives, `front` those that were measured, both on the worst target. Only
    candidates within `limits` add to the front. `turn` counts promotions. Among the undominated candidates
    that add to the front, those in the latency band whose turn it is come first.
    """
    gains = BoxDecomposition(np.array(front).reshape(-1, 3), limits).gains(np.array(vectors).reshape(-1, 3))
    adding = [index for index, gain in enumerate(gains) if gain > 1e-6]
    if not adding:
        return None
    best = non_dominated(adding, lambda index: vectors[index])
    edges = np.quantile([vectors[index][2] for index in best], np.linspace(0, 1, BANDS + 1)[1:-1])
    band = turn % BANDS
    bands = np.searchsorted(edges, [vectors[index][2] for index in best], side="right")
    in_turn = [index for index, its_band in zip(best, bands, strict=True) if its_band == band]
    return max(in_turn or best, key=lambda index: gains[index])


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's ρ of two rungs' values of the same candidates; None for fewer than LEAST_PAIRS, or where one
    never changes.
    """
    if len(pairs) < LEAST_PAIRS:
        return None
    first, second = map(_ranks, zip(*pairs, strict=True))
    if first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks with ties at their mean."""
    array = np.asarray(values)
    return np.array(
        [(array < value).sum() + ((array == value).sum() - 1) / 2 for value in array], dtype=float
    )


@dataclass(slots=True, kw_only=True)
class RecoveryCurve:
    """The drop after a recovery: log(after) = a + b·log(before) + c·log(steps / 250), in normalized drops.

    Ridge regression towards a prior from a ResNet-20: 2 points before leave 0.6 after 250 steps, 0.2 leave
    0.12.
    """

    pairs: list[tuple[float, float, int]] = field(default_factory=list)
    prior: tuple[float, float, float] = (-1.0, 0.7, -0.15)

    def learn(self, before: float, after: float, steps: int) -> None:
        """Adds a recovery: the normalized drops without and with it."""
        self.pairs.append((before, after, steps))

    def after(self, before: float, steps: int) -> float:
        """The expected normalized drop; never more than before."""
        return float(self.mending(steps)(np.array([before]))[0])

    def mending(self, steps: int) -> Callable[[np.ndarray], np.ndarray]:
        """`after` for many drops at once, as the curve is now."""
        offset, slope, longer = self._coefficients()
        longer *= math.log(steps / 250)

        def mended(drops: np.ndarray) -> np.ndarray:
            left = np.exp(offset + slope * np.log(np.maximum(drops, _FLOOR)) + longer)
            return np.asarray(np.where(drops > 0, np.minimum(left, drops), drops))

        return mended

    def _coefficients(self) -> np.ndarray:
        prior = np.array(self.prior)
        lossy = [(before, after, steps) for before, after, steps in self.pairs if before > 0]
        if not lossy:
            return prior
        rows = np.array([_features(before, steps) for before, _, steps in lossy])
        logs = np.log([max(after, _FLOOR) for _, after, _ in lossy])
        system = rows.T @ rows + _PRIOR_WEIGHT * np.diag([1.0, 4.0, 4.0])
        return prior + np.linalg.solve(system, rows.T @ (logs - rows @ prior))


def _features(before: float, steps: int) -> np.ndarray:
    return np.array([1.0, math.log(max(before, _FLOOR)), math.log(steps / 250)])
