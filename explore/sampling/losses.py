"""What levels cost: a table of losses that learns from whole candidates, and the curve from loss to drop.
numpy only.

A sensitivity table has, by slot, the loss (the KL divergence from the original model's outputs) of every
level alone. Losses of whole candidates are not sums of these: rounding errors cancel or add up. `LossTable`
corrects the table by what was observed,

    log KL = offset + exponent · log Σᵢ exp(θᵢ) · lossᵢ(levelᵢ),

offset, exponent and all θ by recursive Bayesian regression in the log domain (an extended Kalman filter: the
derivative by θᵢ is the exponent times the slot's share of the sum). The prior keeps every θ near 0 until
enough was observed, so that nothing diverges.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..space.problem import LevelProblem, Levels

SPREAD = 0.5  # standard deviation of log losses in a sensitivity table: the prior of θ
NOISE = 0.1  # of log KL about the model: interactions that it cannot express
_THETA = 2.5  # largest |θ|
PRIOR_SPREAD = 0.7  # of the log drop about the curve before a task was looked at: a factor of two
_UNSEEN = 4.0  # times PRIOR_SPREAD above the median of the residuals: a drop 16 times as large
_SPREAD_PAIRS, _SLOPE_PAIRS = 1.0, 0.5  # what the prior of the spread and of the exponent weigh


class LossTable:
    """Estimated losses by slot and level, ≥ 0 and ascending with a slot's damage. `losses` are by slot name.

    Corrections multiply all levels of a slot alike, so that the order of its levels stays.
    """

    def __init__(
        self,
        problem: LevelProblem,
        losses: Mapping[str, Sequence[float]],
        *,
        spread: float = SPREAD,
        noise: float = NOISE,
    ):
        self.initial = tuple(np.asarray(losses[slot.name], dtype=float) for slot in problem.slots)
        for slot, values in zip(problem.slots, self.initial, strict=True):
            if values.shape != (slot.levels,) or not np.isfinite(values).all() or (values < 0).any():
                raise ValueError(f"Slot {slot.name} needs {slot.levels} finite losses ≥ 0, not {values}.")
        count = len(problem.slots)
        widest = max(slot.levels for slot in problem.slots)
        self._padded = np.stack([np.pad(values, (0, widest - len(values))) for values in self.initial])
        self._slots = np.arange(count)
        self._gates = [
            (position, gate, level)
            for position, slot in enumerate(problem.slots)
            for gate, level in slot.gates
        ]
        self._noise = noise**2
        self._mean = np.zeros(count + 2)
        self._mean[1] = 1.0
        self._covariance = np.diag(np.array([1.0, 0.1**2, *[spread**2] * count]))

    @property
    def losses(self) -> tuple[np.ndarray, ...]:
        """The corrected losses by slot, without offset and exponent: what dynamic programming adds up."""
        return self._scaled(self._mean[2:])

    def drawn(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Losses as plausible as the corrected ones: a draw from the posterior of θ (Thompson sampling)."""
        covariance = self._covariance[2:, 2:]
        root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance)))
        return self._scaled(self._mean[2:] + root @ rng.standard_normal(len(root)))

    def loss(self, levels: Levels) -> float:
        """The estimated KL of a candidate."""
        return float(self.many(np.array([levels]))[0])

    def many(self, levels: np.ndarray) -> np.ndarray:
        """The estimated KL by row of N × slots levels; 0 where nothing is lost."""
        sums = (self._parts(levels) * np.exp(self._theta)).sum(axis=1)
        with np.errstate(divide="ignore"):
            return np.asarray(np.exp(self._mean[0] + self._exponent * np.log(sums)))

    def observe(self, levels: Levels, kl: float) -> None:
        """Takes note of a candidate's measured KL. One without losses or with a KL of 0 or less teaches
        nothing.
        """
        parts = self._parts(np.array([levels]))[0] * np.exp(self._theta)
        total = parts.sum()
        if not (total > 0 and kl > 0 and np.isfinite(kl)):
            return
        gradient = np.concatenate([[1.0, np.log(total)], self._exponent * parts / total])
        error = np.log(kl) - self._mean[0] - self._exponent * np.log(total)
        spread = self._covariance @ gradient
        explained = float(gradient @ spread)
        gain = spread / (explained + self._noise)
        self._noise = float(
            np.clip(self._noise + 0.03 * (min(error**2, 1.0) - explained - self._noise), 0.02**2, 0.5**2)
        )
        self._mean = self._mean + gain * np.clip(error, -2.0, 2.0)
        self._covariance -= np.outer(gain, spread)
        self._covariance = (self._covariance + self._covariance.T) / 2

    @property
    def _theta(self) -> np.ndarray:
        return self._mean[2:].clip(-_THETA, _THETA)

    @property
    def _exponent(self) -> float:
        return float(self._mean[1].clip(0.4, 2.5))

    def _scaled(self, theta: np.ndarray) -> tuple[np.ndarray, ...]:
        factors = np.exp(theta.clip(-_THETA, _THETA))
        return tuple(values * factor for values, factor in zip(self.initial, factors, strict=True))

    def _parts(self, levels: np.ndarray) -> np.ndarray:
        """The uncorrected losses, N × slots, 0 behind closed gates."""
        parts: np.ndarray = self._padded[self._slots, levels]
        for position, gate, level in self._gates:
            parts[levels[:, gate] == level, position] = 0.0
        return parts


class DropCurve:
    """From KL to the normalized drop, ascending: a power law, and a correction by the observed pairs.

    Until pairs are observed, drop = (KL / 0.25)^0.75, uncertain by a factor of e^PRIOR_SPREAD: a task's own
    candidates decide. The law is fitted by ridge regression in the log domain, the rest is a smooth local
    mean of the residuals, shrunken where few pairs lie. A candidate behind closed gates (a removed block)
    loses less than its stitched KL says, since the layers that are left are fitted anew: a factor, learned as
    well.
    """

    _FLOOR = 0.01  # drops below are noise
    _GRID = np.linspace(np.log(1e-5), np.log(30.0), 150)
    _CLOSED = np.log(0.6)  # of the factor, and what this prior weighs in pairs
    _PRIOR_PAIRS = 3.0

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float, float]] = []
        self._fitted: tuple[np.ndarray, float, float] | None = (
            0.75 * (self._GRID - np.log(0.25)),
            PRIOR_SPREAD,
            self._CLOSED,
        )

    def observe(self, kl: float, drop: float, *, closed: bool = False) -> None:
        """Takes note of a candidate that was not trained."""
        if kl > 0 and np.isfinite((kl, drop)).all():
            self._pairs.append(self._pair(kl, drop, closed))
            self._fitted = None

    def correct(self, kl: float, before: float, after: float, *, closed: bool = False) -> None:
        """Takes another drop for one that was observed."""
        if (pair := self._pair(kl, before, closed)) in self._pairs:
            self._pairs[self._pairs.index(pair)] = self._pair(kl, after, closed)
            self._fitted = None

    def _pair(self, kl: float, drop: float, closed: bool) -> tuple[float, float, float]:
        return float(np.log(kl)), float(np.log(max(drop, self._FLOOR))), float(closed)

    def drop(self, kl: float, *, closed: bool = False) -> float:
        """The expected normalized drop."""
        return float(self.many(np.array([kl]), np.array([closed]))[0])

    def many(self, kl: np.ndarray, closed: np.ndarray | None = None) -> np.ndarray:
        """The expected normalized drops; 0 where KL is 0. `closed` tells which candidates are behind closed
        gates.
        """
        logs = np.log(np.maximum(kl, 1e-12))
        below = np.minimum(logs - self._GRID[0], 0.0)
        above = np.maximum(logs - self._GRID[-1], 0.0)
        less = 0.0 if closed is None else self._fit_now()[2] * np.asarray(closed, dtype=float)
        return np.asarray(
            np.where(kl > 0, np.exp(np.interp(logs, self._GRID, self._curve) + below + above + less), 0.0)
        )

    def inverse(self, drop: float) -> float:
        """The KL at which the expected drop is `drop` > 0."""
        return float(np.exp(np.interp(np.log(max(drop, 1e-6)), self._curve, self._GRID)))

    @property
    def spread(self) -> float:
        """The standard deviation of the log drop about the curve."""
        return self._fit_now()[1]

    @property
    def _curve(self) -> np.ndarray:
        """The log drop over `_GRID`, ascending, of candidates behind no gate."""
        return self._fit_now()[0]

    def _fit_now(self) -> tuple[np.ndarray, float, float]:
        """Curve, spread and the logarithm of the factor behind gates: the curve without it, then it about the
        curve, twice.
        """
        if self._fitted is None:
            x, y, closed = np.array(self._pairs).T
            less = self._CLOSED
            for _ in range(2):
                curve, spread = self._fit(x, y - less * closed)
                rest = (y - np.interp(x, self._GRID, curve))[closed > 0]
                less = float(
                    (self._PRIOR_PAIRS * self._CLOSED + rest.sum()) / (self._PRIOR_PAIRS + len(rest))
                )
            self._fitted = curve, spread, less
        return self._fitted

    def _fit(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
        features = np.stack([np.ones_like(x), x - np.log(0.25)])
        informative = np.where((y > np.log(2 * self._FLOOR)) & (y < np.log(10.0)), 1.0, 0.1)
        weight = informative * self._seen(y - 0.75 * features[1])
        precision = (features * weight) @ features.T + np.diag([0.1, _SLOPE_PAIRS])
        intercept, slope = np.linalg.solve(
            precision, (features * weight) @ y + np.array([0.0, _SLOPE_PAIRS * 0.75])
        )
        slope = max(slope, 0.2)
        law = intercept + slope * (self._GRID - np.log(0.25))
        residual = y - (intercept + slope * (x - np.log(0.25)))
        near = np.exp(-0.5 * ((self._GRID[:, None] - x) / 0.3) ** 2) * weight
        curve = law + near @ residual / (near.sum(axis=1) + 1.0)
        curve = np.maximum.accumulate(curve) + 1e-3 * (self._GRID - self._GRID[0])
        rest = (y - np.interp(x, self._GRID, curve))[weight == 1.0]
        squares = (rest**2).sum() + _SPREAD_PAIRS * PRIOR_SPREAD**2
        return curve, float(np.sqrt(squares / (len(rest) + _SPREAD_PAIRS)))

    @staticmethod
    def _seen(residuals: np.ndarray) -> np.ndarray:
        """1 for pairs whose drop the KL can tell, 0 for those that are further above most others than any
        curve is likely to be: something that the KL does not see (int8 sums that saturate on this CPU).
        """
        return np.where(residuals - np.median(residuals) > _UNSEEN * PRIOR_SPREAD, 0.0, 1.0)
