"""Bayesian linear regression of what adds up: a known mean and spread for every coefficient, and observations
that correct them.

Far more coefficients than observations are fine: each keeps its prior until something is seen of it. Works in
the space of observations (n × n), since there are tens to hundreds of them.

Source: Rasmussen, Williams, "Gaussian Processes for Machine Learning" (2006), section 2.1, equation 2.12.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Mean and variance of d coefficients, independent of each other."""

    mean: np.ndarray
    variance: np.ndarray

    def __post_init__(self) -> None:
        if self.mean.shape != self.variance.shape or self.mean.ndim != 1 or (self.variance < 0).any():
            raise ValueError("A prior needs a mean and a variance ≥ 0 for each coefficient.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """What is known after the observations: `weights` are the d coefficients; `predict` adds how sure that
    is.
    """

    weights: np.ndarray
    prior: Prior
    spread: np.ndarray  # d × n: the prior's covariance with the observations, whitened

    @classmethod
    def of(cls, prior: Prior, features: np.ndarray, values: np.ndarray, noise: np.ndarray) -> "Posterior":
        """The posterior after n observations: features n × d, values n, standard deviations of their noise n
        (all > 0).
        """
        if len(values) == 0:
            return cls(weights=prior.mean, prior=prior, spread=np.zeros((len(prior.mean), 0)))
        weighted = features * prior.variance
        root = np.linalg.cholesky(weighted @ features.T + np.diag(noise**2))
        whitened = np.linalg.solve(root, np.column_stack([values - features @ prior.mean, weighted]))
        weights = prior.mean + whitened[:, 1:].T @ whitened[:, 0]
        return cls(weights=weights, prior=prior, spread=whitened[:, 1:].T)

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation for each row of features (m × d), noise not included."""
        explained = features @ self.spread
        variance = (features**2) @ self.prior.variance - (explained**2).sum(axis=1)
        return features @ self.weights, np.sqrt(np.maximum(variance, 0.0))

    def deviation(self) -> np.ndarray:
        """The standard deviation of every coefficient."""
        return np.asarray(np.sqrt(np.maximum(self.prior.variance - (self.spread**2).sum(axis=1), 0.0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionError:
    """How well `count` predictions met what was measured afterwards; None where too few are there to tell.

    `kendall_tau` (tau-b, -1 … 1) says whether they are in the same order. The errors are absolute and
    relative to the measured value: 0.05 is 5 %.
    """

    count: int
    kendall_tau: float | None
    median: float | None
    p90: float | None

    @classmethod
    def of(
        cls, predicted: Sequence[float] | np.ndarray, measured: Sequence[float] | np.ndarray
    ) -> "PredictionError":
        """The error of m predictions of positive values."""
        if len(predicted) == 0:
            return cls(count=0, kendall_tau=None, median=None, p90=None)
        errors = np.abs(np.asarray(predicted) / np.asarray(measured) - 1)
        median, p90 = np.quantile(errors, [0.5, 0.9])
        return cls(
            count=len(errors),
            kendall_tau=kendall_tau(predicted, measured),
            median=float(median),
            p90=float(p90),
        )

    def __str__(self) -> str:
        if self.median is None or self.p90 is None:
            return "not known yet"
        tau = "" if self.kendall_tau is None else f"Kendall tau {self.kendall_tau:.3f}, "
        errors = f"median error {100 * self.median:.1f} %, 90 % within {100 * self.p90:.1f} %"
        return f"{tau}{errors} ({self.count} candidates)"


def kendall_tau(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float | None:
    """Kendall's tau-b of two equally long arrays; None for fewer than two values or where one side is
    constant.
    """
    a, b = (np.sign(np.subtract.outer(values, values)) for values in (np.asarray(first), np.asarray(second)))
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else None
