"""LatencyPredictor: what a candidate's latency will be, learned from whole models measured beside the
original.

A candidate's ratio is the sum over its parts (latency_terms.py) of features × costs. A cost is the device's,
shared by all layers of a kind, plus a deviation of the part's own: the first candidates teach the device,
later ones the layers. The prior comes from another model on the same device, or from the share of
multiplications and elements.

Every target has a predictor of its own. `problem_of` turns their sums into the terms that the sampler
minimizes.
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
from ..space.problem import LevelProblem, Levels, Term
from ..space.space import SearchSpace
from .features import FUSED_ATTENTION, FUSED_REST, STORED_KERNEL
from .terms import LatencyTerms

PART_DEVIATION = 0.2  # standard deviation of a part's own cost, relative to that of the shared one
MODEL_ERROR = 0.02  # relative: what the sum cannot say, and what differs from one hour to the next
STALE_ERROR = 0.04
STALE_S = 3600.0  # older than the newest by more: other neighbours, other clocks
NEWEST = 20  # references that count
WIDEST = 0.2  # a half-width out of two pairs is a rough guess itself
TRANSFER_ERROR = 0.3  # least relative deviation of a cost that another model's measurements told
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
# Weights that a session expands when it loads run float32 kernels; only a measurement can tell otherwise.
STORED_SPREAD = 0.05
FUSED_SHARES: Mapping[str, tuple[float, float]] = {FUSED_ATTENTION: (-0.25, 0.3), FUSED_REST: (-0.1, 0.2)}
# Of the mean, not of the deviation: some CPUs gain nothing from int8.
SPEEDS: Mapping[str, float] = {
    "int8": 0.5,
    "dynamic8": 0.6,
    "float16": 0.6,
    "fp8": 0.5,
    "int8_24": 0.45,
    "float16_24": 0.55,
}


class LatencyPredictor:
    """Predicts the latency ratio of any recipe of a space, and learns from what is measured. `batch` is the
    measured one. `drawable`: the part of the space that the target has, from which a calibration draws.
    """

    def __init__(
        self,
        network: Network,
        space: SearchSpace,
        table: LatencyTable,
        *,
        batch: int = 1,
        drawable: SearchSpace | None = None,
    ):
        self.network, self.space, self.table, self.batch = network, space, table, batch
        self.drawable = drawable or space
        self.terms = LatencyTerms.of(network, space)
        self.structure = structure_digest(network, batch)
        self._levels = LevelProblem(slots=self.terms.slots, terms=())
        self._offsets = np.cumsum([len(self.terms.names), *(part.rows.shape[1] for part in self.terms.parts)])
        self._posterior: Posterior | None = None
        self._rows: list[np.ndarray] = []
        self._measured: list[tuple[float, float, float]] = []  # ratio, half-width, time
        self._before: list[tuple[float, float]] = []
        for observation in table.observations(self.structure):
            self._take(observation.candidate, observation.ratio, observation.half_width, observation.at)

    @property
    def count(self) -> int:
        """How many measured candidates it knows."""
        return len(self._measured)

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
        observations = self.table.observations(self.structure)
        references = (observation.reference_s for observation in observations)
        times = [reference_s for reference_s in references if reference_s is not None]
        return statistics.median(times[-NEWEST:]) if times else None

    def learn(
        self, recipe: Recipe, ratio: float, half_width: float, *, reference_s: float | None = None
    ) -> None:
        """Corrects the table by a measured candidate, and keeps it for later runs. `half_width` is relative
        (95 %).

        `reference_s` is the original's latency beside it.
        """
        recipe = replace(recipe, recovery=None)
        self._before.append((self.ratio(recipe), ratio))
        observation = self.table.observe(
            self.structure, recipe.to_json(), ratio, half_width, reference_s=reference_s
        )
        self._take(observation.candidate, ratio, half_width, observation.at)

    def knows(self, recipe: Recipe) -> bool:
        """Whether the candidate was measured on this device, by this run or an earlier one."""
        row = self._row(recipe)
        return any(np.array_equal(row, other) for other in self._rows)

    def tell(self) -> None:
        """Keeps what this model says about the device, for other models."""
        weights, spread = self.posterior.weights, self.posterior.deviation()
        coefficients = {
            name: Coefficient(mean=float(weights[at]), deviation=float(spread[at]))
            for at, name in enumerate(self.terms.names)
        }
        self.table.tell(self.structure, coefficients)

    def costs(self, part: int) -> np.ndarray:
        """The predicted ratio of each state of a part."""
        terms, weights = self.terms.parts[part], self.posterior.weights
        deviations = weights[self._offsets[part] : self._offsets[part + 1]]
        return np.asarray(terms.rows @ (weights[terms.columns] + deviations))

    @property
    def posterior(self) -> Posterior:
        """What is known by now; computed when it is asked for."""
        if self._posterior is None:
            ratios, widths, times = np.array([(1.0, 0.005, time.time()), *self._measured]).T
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
        if coefficients := self.table.coefficients(self.structure):
            shared = _transferred(self.terms.names, self._original, shared, coefficients)
        mean, deviation = shared
        by_part = [PART_DEVIATION * deviation[part.columns] for part in self.terms.parts]
        by_part[0] = np.zeros_like(by_part[0])  # the constant has none
        spread = np.concatenate([deviation, *by_part])
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
        self._measured.append((ratio, half_width, at))
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
    predictors: Sequence[LatencyPredictor],
    *,
    original_bytes: Sequence[int] | None = None,
    scales: Sequence[tuple[float, float]] | None = None,
) -> LevelProblem:
    """The problem of a space with the present costs on each target; call it again when a predictor has
    learned.

    There is a predictor for each target, all of the same space. `original_bytes` are the sizes of the
    original's artifact by target: what is not in its layers counts in every candidate. Without them, the
    weights are all there is. `scales` multiply (sizes, latencies) on each target, which makes the targets
    alternatives: all are relative to one original then.
    """
    bytes_by_target = [None] * len(predictors) if original_bytes is None else original_bytes
    targets = [_costs_on(*pair) for pair in zip(predictors, bytes_by_target, strict=True)]
    terms = []
    for part, costs in zip(predictors[0].terms.parts, zip(*targets, strict=True), strict=True):
        factors = scales or [(1.0, 1.0)] * len(costs)
        sizes = [size * factor for (size, _), (factor, _) in zip(costs, factors, strict=True)]
        latencies = [latency * factor for (_, latency), (_, factor) in zip(costs, factors, strict=True)]
        terms.append(Term(scope=part.scope, size=np.stack(sizes), latency=np.stack(latencies)))
    slots = predictors[0].terms.slots
    return LevelProblem(slots=slots, terms=tuple(terms), alternatives=scales is not None)


def _costs_on(predictor: LatencyPredictor, original_bytes: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """By part the sizes and the latencies over the levels of its scope, on one target."""
    cost = predictor.network.cost(Recipe())
    total = max(cost.weight_bytes, original_bytes or 0)
    slots, changing = predictor.terms.slots, 0.0
    for part in predictor.terms.parts:
        state = part.states[tuple(slots[slot].original for slot in part.scope)]
        changing += float(part.sizes[state])
    costs = []
    for at, part in enumerate(predictor.terms.parts):
        size = part.sizes[part.states] / total if part.sizes.any() else np.zeros(part.states.shape)
        costs.append((size, predictor.costs(at)[part.states]))
    costs[0] = (np.array((total - changing) / total), costs[0][1])
    return costs


def structure_digest(network: Network, batch: int) -> str:
    """SHA-256 of what decides a model's latency: its layers in order, its blocks, the batch size."""
    layers = [
        [layer.name, layer.kind, list(layer.weight_shape), layer.macs, layer.uses] for layer in network.layers
    ]
    return digest_of([layers, [[block.name, list(block.layers)] for block in network.blocks], batch])


def _guess(names: Sequence[str], original: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each cost from shares of the original's latency: a new device."""
    totals = {key: max(_total(names, original, key), 1e-9) for key in SHARES}
    mean, deviation = np.zeros(len(names)), np.zeros(len(names))
    for at, name in enumerate(names):
        if name in FUSED_SHARES:
            mean[at], deviation[at] = FUSED_SHARES[name]
            continue
        key = _measure_of(name)
        share, spread = SHARES[key]
        if name == STORED_KERNEL:
            share, spread = 0.0, STORED_SPREAD
        elif "quantize" in name or "sum" in name or " to " in name:
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


def _transferred(
    names: Sequence[str],
    original: np.ndarray,
    guess: tuple[np.ndarray, np.ndarray],
    coefficients: Mapping[str, Coefficient],
) -> tuple[np.ndarray, np.ndarray]:
    """The costs learned from another model, in units of this model's original; the guess for others.

    A ratio has another unit for each model: what the other's costs predict for this original is 1.
    """
    mean, deviation = (array.copy() for array in guess)
    shared = np.array([name in coefficients for name in names])
    nothing = Coefficient(mean=0.0, deviation=0.0)
    theirs = np.array([coefficients.get(name, nothing).mean for name in names])
    their_spread = np.array([coefficients.get(name, nothing).deviation for name in names])
    used = original[: len(names)]
    share, predicted = 1 - float(used[~shared] @ mean[~shared]), float(used @ theirs)
    if not (math.isfinite(predicted) and predicted > 0 and share > 0):
        return guess
    unit = share / predicted
    mean[shared] = unit * theirs[shared]
    least = np.maximum(TRANSFER_ERROR * np.abs(mean), 0.1 * deviation)
    deviation[shared] = np.maximum(unit * their_spread, least)[shared]
    return mean, deviation
