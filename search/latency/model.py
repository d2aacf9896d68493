"""LatencyPredictor: what a candidate's latency will be, learned from whole models measured beside the
original.

A candidate's ratio is the sum over its parts (latency_terms.py) of features × costs. A cost is the device's,
shared by all layers of a kind, plus a deviation of the part's own: the first candidates teach the device,
later ones the layers. The prior comes from another model on the same device, or from the share of
multiplications and elements.

`problem_of` turns the sum into the terms that the sampler minimizes.
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ...compress.graph.network import Network
from ...compress.recipe import Recipe
from ...files import digest_of
from ...profiles.latency_table import Coefficient, LatencyTable
from ...profiles.measurement import PredictedLatency
from ...profiles.regression import Posterior, PredictionError, Prior
from ..space.problem import Levels, Problem, Term
from ..space.space import SearchSpace
from .terms import LatencyTerms

OWN = 0.2  # standard deviation of a part's own cost, relative to that of the shared one
MODEL_ERROR = 0.02  # relative: what the sum cannot say, and what differs from one hour to the next
STALE_ERROR = 0.04
STALE_S = 3600.0  # older than the newest by more: other neighbours, other clocks
NEWEST = 20  # references that count
WIDEST = 0.2  # a half-width out of two pairs is a rough guess itself
TAUGHT = 0.3  # least relative deviation of what another model has told
SHARES: Mapping[
    str, tuple[float, float]
] = {  # of the original's latency: mean and standard deviation, all layers float32
    "padded macs": (0.5, 0.5),
    "macs": (0.2, 0.3),
    "places": (0.1, 0.15),
    "elements": (0.1, 0.15),
    "columns": (0.02, 0.05),
    "kernel": (0.06, 0.06),
    "constant": (0.03, 0.03),
}
# Of the mean, not of the deviation: some CPUs gain nothing from int8.
SPEEDS: Mapping[str, float] = {"int8": 0.5, "float16": 0.6, "fp8": 0.5, "int8_24": 0.45, "float16_24": 0.55}


class LatencyPredictor:
    """Predicts the latency ratio of any recipe of a space, and learns from what is measured. `batch` is the
    measured one.
    """

    def __init__(self, network: Network, space: SearchSpace, table: LatencyTable, *, batch: int = 1):
        self.network, self.space, self.table, self.batch = network, space, table, batch
        self.terms = LatencyTerms.of(network, space)
        self.structure = structure_digest(network, batch)
        self._levels = Problem(slots=self.terms.slots, terms=())
        self._offsets = np.cumsum([len(self.terms.names), *(part.rows.shape[1] for part in self.terms.parts)])
        self._posterior: Posterior | None = None
        self._rows: list[np.ndarray] = []
        self._seen: list[tuple[float, float, float]] = []  # ratio, half-width, time
        self._before: list[tuple[float, float]] = []
        for item in table.observations(self.structure):
            self._take(item.candidate, item.ratio, item.half_width, item.at)

    @property
    def count(self) -> int:
        """How many measured candidates it knows."""
        return len(self._seen)

    @property
    def error(self) -> PredictionError:
        """The error of the predictions that were made before each candidate was learned by this object."""
        predicted, measured = np.array(self._before).reshape(-1, 2).T
        return PredictionError.of(predicted, measured)

    def ratio(self, recipe: Recipe) -> float:
        """The predicted latency relative to the original's. ValueError for a recipe outside the space."""
        return float(self._row(recipe) @ self.posterior.weights)

    def ratio_and_deviation(self, recipes: Sequence[Recipe]) -> tuple[np.ndarray, np.ndarray]:
        """The predicted ratios of m recipes, and the standard deviation of each."""
        return self.posterior.predict(np.array([self._row(recipe) for recipe in recipes]))

    def predict(self, recipe: Recipe, reference_s: float) -> PredictedLatency:
        """The predicted latency when the original takes `reference_s`; never less than 1 % of it."""
        seconds = max(0.01, self.ratio(recipe)) * reference_s
        return PredictedLatency(seconds=seconds, source=f"latency table of {self.count} measurements")

    @property
    def reference_s(self) -> float | None:
        """The original's latency: the median of the newest times it was measured beside a candidate; None if
        it never was.
        """
        known = [
            item.reference_s
            for item in self.table.observations(self.structure)
            if item.reference_s is not None
        ]
        return statistics.median(known[-NEWEST:]) if known else None

    def learn(
        self, recipe: Recipe, ratio: float, half_width: float, *, reference_s: float | None = None
    ) -> None:
        """Corrects the table by a measured candidate, and keeps it for later runs. `half_width` is relative
        (95 %).

        `reference_s` is the original's latency beside it.
        """
        recipe = replace(recipe, recovery=None)
        self._before.append((self.ratio(recipe), ratio))
        seen = self.table.observe(
            self.structure, recipe.to_json(), ratio, half_width, reference_s=reference_s
        )
        self._take(seen.candidate, ratio, half_width, seen.at)

    def knows(self, recipe: Recipe) -> bool:
        """Whether the candidate was measured on this device, by this run or an earlier one."""
        row = self._row(recipe)
        return any(np.array_equal(row, known) for known in self._rows)

    def tell(self) -> None:
        """Keeps what this model says about the device, for other models."""
        weights, spread = self.posterior.weights, self.posterior.deviation()
        found = {
            name: Coefficient(mean=float(weights[at]), deviation=float(spread[at]))
            for at, name in enumerate(self.terms.names)
        }
        self.table.tell(self.structure, found)

    def costs(self, part: int) -> np.ndarray:
        """The predicted ratio of each state of a part."""
        found, weights = self.terms.parts[part], self.posterior.weights
        own = weights[self._offsets[part] : self._offsets[part + 1]]
        return np.asarray(found.rows @ (weights[found.columns] + own))

    @property
    def posterior(self) -> Posterior:
        """What is known by now; computed when it is asked for."""
        if self._posterior is None:
            ratios, widths, times = np.array([(1.0, 0.005, time.time()), *self._seen]).T
            stale = times < times[1:].max(initial=0.0) - STALE_S
            stale[0] = False
            model = np.where(stale, STALE_ERROR, MODEL_ERROR)
            noise = ratios * np.sqrt(model**2 + (np.minimum(widths, WIDEST) / 2) ** 2)
            noise[0] = 0.005
            self._posterior = Posterior.of(self.prior, np.array([self._original, *self._rows]), ratios, noise)
        return self._posterior

    @cached_property
    def prior(self) -> Prior:
        """What is known of the costs before this model is measured."""
        shared = _guess(self.terms.names, self._original)
        if taught := self.table.coefficients(self.structure):
            shared = _taught(self.terms.names, self._original, shared, taught)
        mean, deviation = shared
        own = [np.zeros(0), *(OWN * deviation[part.columns] for part in self.terms.parts)]
        own[1] = np.zeros_like(own[1])  # the constant has none
        spread = np.concatenate([deviation, *own])
        return Prior(mean=np.concatenate([mean, np.zeros(len(spread) - len(mean))]), variance=spread**2)

    @cached_property
    def _original(self) -> np.ndarray:
        return self._row(Recipe())

    def _take(self, candidate: Any, ratio: float, half_width: float, at: float) -> None:
        try:
            row = self._row(Recipe.from_json(candidate))
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ):  # of an earlier version, or of a profile with other levels
            return
        self._rows.append(row)
        self._seen.append((ratio, half_width, at))
        self._posterior = None

    def _row(self, recipe: Recipe) -> np.ndarray:
        """The features of a recipe: those that all parts share, then each part's own."""
        recipe = self.space.canonical(replace(recipe, recovery=None))
        return self.features(self._levels.levels_of(self.space.parameters(recipe)))

    def features(self, levels: Levels) -> np.ndarray:
        """The features of a candidate's levels."""
        row = np.zeros(self._offsets[-1])
        for part, start in zip(self.terms.parts, self._offsets, strict=False):
            values = part.rows[part.states[tuple(levels[slot] for slot in part.scope)]]
            row[part.columns] += values
            row[start : start + len(values)] = values
        return row


def problem_of(
    space: SearchSpace, network: Network, predictor: LatencyPredictor, *, original_bytes: int | None = None
) -> Problem:
    """The problem of a space with the predictor's present costs; call it again when the predictor has
    learned.

    `original_bytes` is the size of the original's artifact: what is not in its layers counts in every
    candidate. Without it, layers are all there is.
    """
    layers = network.cost(Recipe()).weight_bytes
    total = max(layers, original_bytes or layers)
    terms = []
    for at, part in enumerate(predictor.terms.parts):
        size = part.sizes[part.states] / total if part.sizes.any() else np.zeros(part.states.shape)
        terms.append(Term(scope=part.scope, size=size, latency=predictor.costs(at)[part.states]))
    terms[0] = replace(terms[0], size=np.array((total - layers) / total))
    return Problem(slots=predictor.terms.slots, terms=tuple(terms))


def structure_digest(network: Network, batch: int) -> str:
    """SHA-256 of what decides a model's latency: its layers in order, its blocks, the batch size."""
    layers = [
        [item.name, item.kind, list(item.weight_shape), item.macs, item.uses] for item in network.layers
    ]
    return digest_of([layers, [[block.name, list(block.layers)] for block in network.blocks], batch])


def _guess(names: Sequence[str], original: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each cost from shares of the original's latency: a new device."""
    totals = {key: max(_total(names, original, key), 1e-9) for key in SHARES}
    mean, deviation = np.zeros(len(names)), np.zeros(len(names))
    for at, name in enumerate(names):
        key = _measure_of(name)
        share, spread = SHARES[key]
        if "quantize" in name or "sum" in name or " to " in name:
            share, spread = 0.6 * share, 0.9 * spread
        else:
            share *= SPEEDS.get(name.partition(" ")[0], 1.0)
        mean[at], deviation[at] = share / totals[key], spread / totals[key]
    return mean, deviation


def _total(names: Sequence[str], original: np.ndarray, key: str) -> float:
    """How much of a measure the original's layers have."""
    return float(
        sum(original[at] for at, name in enumerate(names) if _measure_of(name) == key and "sum" not in name)
    )


def _measure_of(name: str) -> str:
    """`padded macs` of `float32 conv padded macs`."""
    return next(key for key in SHARES if name.endswith(key))


def _taught(
    names: Sequence[str],
    original: np.ndarray,
    guess: tuple[np.ndarray, np.ndarray],
    taught: Mapping[str, Coefficient],
) -> tuple[np.ndarray, np.ndarray]:
    """The costs that another model has told, in units of this model's original; the guess where it has told
    nothing.

    A ratio has another unit for each model: what the told costs predict for this original is 1.
    """
    mean, deviation = (array.copy() for array in guess)
    told = np.array([name in taught for name in names])
    theirs = np.array([taught[name].mean if name in taught else 0.0 for name in names])
    theirs_spread = np.array([taught[name].deviation if name in taught else 0.0 for name in names])
    used = original[: len(names)]
    share, predicted = 1 - float(used[~told] @ mean[~told]), float(used @ theirs)
    if not (math.isfinite(predicted) and predicted > 0 and share > 0):
        return guess
    unit = share / predicted
    mean[told] = unit * theirs[told]
    least = np.maximum(TAUGHT * np.abs(mean), 0.1 * deviation)
    deviation[told] = np.maximum(unit * theirs_spread, least)[told]
    return mean, deviation
