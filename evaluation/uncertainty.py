"""How sure a metric is, and how sure a drop: original and candidate answer the same samples, so it is paired.

A metric that is the mean over samples, such as an accuracy, is taken apart into its samples: then the spread
of their differences says how sure the drop is. Any other metric is computed on resampled splits (the
bootstrap); the same ones for original and candidate. Where only statistics are kept that add up, these are
resampled, by sample or by groups of samples. A torchmetrics.Metric is computed without each of GROUPS groups
of samples (the jackknife), the same ones again.

Sources. Shares of samples: Wilson, "Probable Inference" (1927). Their differences: Agresti and Min, "Simple
improved confidence intervals for comparing matched proportions" (2005). Bootstrap: Efron and Tibshirani, "An
Introduction to the Bootstrap" (1993), section 12.2. Groups that are left out: Shao and Tu, "The Jackknife and
Bootstrap" (1995), section 2.2.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import TaskError
from ..results.records.reading import Interval
from ..tasks.metrics.accumulate import (
    GROUPS,
    AnyAccumulator,
    Collected,
    Grouped,
    Totals,
    accumulator_of,
    score_prepared,
)
from ..tasks.splits.grouping import chosen_samples
from ..tasks.task import Metric

Z = 1.96  # standard deviations on each side of a 95 % interval
BUDGET_S = 5.0  # for all resamples or parts of one file
RESAMPLES = (200, 40)  # the first number that fits into the budget; a slower metric has no interval
PARTS = (20_000, 200)  # parts at most, likewise
_FEW_PARTS = 8  # are enough to see that most metrics are no mean over samples
_TRIES = 9  # the quickest of these says how long one takes on a busy machine
_ROUNDING = 1e-5  # relative, of a mean in float32

_STUDENT = 2.093  # standard deviations on each side of a 95 % interval, known from GROUPS groups

Array = np.ndarray[Any, Any]
Positions = slice | Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A metric on a split of so many samples, and what says how sure it is.

    `parts`: the metric of P parts (samples k, k + P, k + 2P …), where their mean is the metric. Otherwise
    `resampled`: that of resampled splits. Both are None for a metric that is too slow, or not finite there.
    """

    value: float
    samples: int
    parts: Array | None = None
    resampled: Array | None = None

    def interval(self, metric: Metric) -> Interval | None:
        """The 95 % interval of the metric, which holds the value; a fraction stays inside 0..1."""
        if self.parts is None:
            return _around(self.value, _deviation(self.resampled), metric)
        if _is_share(self):
            return _wilson(self.value, self.samples)
        return _around(self.value, _deviation_of_mean(self.parts, self.samples), metric)

    def resamples(self, count: int) -> Array | None:
        """The metric of the first `count` resampled splits; None where that is not known."""
        if self.resampled is not None:
            return self.resampled[:count]
        if self.parts is None or len(self.parts) < self.samples:
            return None
        return np.array([self.parts[index.numpy()].mean() for index in _indices(self.samples, count)])


def drop_interval(metric: Metric, original: Scores, candidate: Scores) -> Interval | None:
    """The 95 % interval of the candidate's drop, paired by samples; None where either is not known."""
    sign = 1.0 if metric.direction == "higher" else -1.0
    drop = metric.drop(candidate.value, baseline=original.value)
    if original.parts is not None and candidate.parts is not None:
        differences = sign * (original.parts - candidate.parts)
        if _is_share(original) and _is_share(candidate):
            return _agresti_min(differences)
        half = Z * _deviation_of_mean(differences, original.samples)
        return drop - half, drop + half
    resampled = original.resampled if candidate.resampled is None else candidate.resampled
    count = 0 if resampled is None else len(resampled)
    before, after = original.resamples(count), candidate.resamples(count)
    if not count or before is None or after is None or len(before) != len(after):
        return None
    half = Z * float(np.std(before - after, ddof=1))
    return drop - half, drop + half


def scores_of(
    metric: Metric, outputs: Sequence[Array | list[Array]], targets: Any, *, like: Scores | None = None
) -> Scores:
    """The scores of a whole split; see `scores_from`."""
    accumulator = accumulator_of(metric)
    accumulator.add(outputs, targets)
    return scores_from(accumulator, like=like)


def scores_from(accumulator: AnyAccumulator, *, like: Scores | None = None) -> Scores:
    """The metric of all that was taken, and of its parts or resamples: always the same ones.

    `like` are the original's scores, which decide how many. The value may be NaN. TaskError when the metric
    raises.
    """
    value, took_s = _timed(accumulator.value)
    scores = Scores(value=value, samples=accumulator.samples)
    if not math.isfinite(value):
        return scores
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a metric about parts without some class
        if isinstance(accumulator, Totals):
            return _of_totals(accumulator, scores, took_s, like)
        if isinstance(accumulator, Grouped):
            return _of_groups(accumulator, scores, took_s, like)
        return _of_answers(accumulator, scores, took_s, like)


def is_quick(accumulator: AnyAccumulator, scores: Scores) -> bool:
    """Whether an interval takes so little that one may be computed on every part of a split: that of a mean,
    or of statistics that add up.
    """
    return isinstance(accumulator, Totals) or scores.parts is not None


def _of_totals(totals: Totals, scores: Scores, took_s: float, like: Scores | None) -> Scores:
    """A mean has its samples; of others, rows of statistics are drawn and added up."""
    if totals.metric.compute is None and not totals.grouped:
        return replace(scores, parts=totals.rows[:, 0])
    rows = totals.rows
    count = _affordable(RESAMPLES, took_s)
    if like is not None and like.resampled is not None:
        count = len(like.resampled)
    drawn = (np.bincount(index.numpy(), minlength=len(rows)) for index in _indices(len(rows), count))
    values = np.array([totals.value_of(times @ rows) for times in drawn])
    return replace(scores, resampled=values if count and np.isfinite(values).all() else None)


def _of_groups(grouped: Grouped, scores: Scores, took_s: float, like: Scores | None) -> Scores:
    """The metric without each group in turn, spread so that its standard deviation is the jackknife's."""
    wanted = GROUPS * took_s <= BUDGET_S if like is None else like.resampled is not None
    values = grouped.without_each() if wanted else None
    if values is None or not np.isfinite(values).all():
        return scores
    spread = (GROUPS - 1) / math.sqrt(GROUPS) * _STUDENT / Z
    return replace(scores, resampled=scores.value + spread * (values - values.mean()))


def _of_answers(answers: Collected, scores: Scores, took_s: float, like: Scores | None) -> Scores:
    asked = _Answers(answers.metric, answers.outputs, answers.targets)
    parts = None if like is not None and like.parts is None else _parts(asked, scores.value, like)
    if parts is not None:
        return replace(scores, parts=parts)
    if _affordable(RESAMPLES, took_s) < RESAMPLES[0]:  # the first call may have been held up
        took_s = min(took_s, *(_timed(asked.whole)[1] for _ in range(2)))
    count = _affordable(RESAMPLES, took_s)
    if like is not None and like.resampled is not None:
        count = len(like.resampled)
    return replace(scores, resampled=_resampled(asked, count))


@dataclass(frozen=True, slots=True)
class _Answers:
    """A metric, and targets and outputs of a whole split, the latter prepared for the metric's function."""

    metric: Metric
    outputs: tuple[Tensor | list[Tensor], ...]
    targets: Any

    @property
    def samples(self) -> int:
        return len(self.outputs[0])

    def whole(self) -> float:
        """The metric of all samples. TaskError where it raises."""
        return score_prepared(self.metric, self.outputs, self.targets)

    def score(self, positions: Positions) -> float:
        """The metric of these samples alone; NaN where it raises."""
        try:
            chosen = tuple(chosen_samples(output, positions) for output in self.outputs)
            return score_prepared(self.metric, chosen, chosen_samples(self.targets, positions))
        except TaskError:
            return math.nan


def _parts(answers: _Answers, value: float, like: Scores | None) -> Array | None:
    """The metric of parts of the samples, as many as time allows; None where it is no mean over samples."""
    samples = answers.samples
    if _means(answers, min(samples, _FEW_PARTS), value) is None:
        return None
    if like is not None and like.parts is not None:
        return _means(answers, len(like.parts), value)
    one_s = min(_timed(lambda: answers.score(slice(0, 1)))[1] for _ in range(_TRIES))
    count = _affordable(PARTS, one_s, most=samples)
    return _means(answers, count, value) if count else None


def _means(answers: _Answers, count: int, value: float) -> Array | None:
    """The metric of each of `count` parts; None where their mean, weighted by sizes, is not `value`."""
    parts = np.array([answers.score(slice(start, None, count)) for start in range(count)])
    if not np.isfinite(parts).all():
        return None
    mean = float(_sizes(answers.samples, count) @ parts) / answers.samples
    return parts if abs(mean - value) <= _ROUNDING * max(abs(value), np.abs(parts).max()) else None


def _resampled(answers: _Answers, count: int) -> Array | None:
    values = np.array([answers.score(index) for index in _indices(answers.samples, count)])
    return values if count and np.isfinite(values).all() else None


def _indices(samples: int, count: int) -> Iterator[Tensor]:
    """For each resample, the samples in it: drawn with replacement, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randint(samples, (samples,), generator=generator)


# --- intervals


def _is_share(scores: Scores) -> bool:
    """Whether the metric is the share of samples that are right (or wrong)."""
    parts = scores.parts
    return parts is not None and len(parts) == scores.samples and bool(np.isin(parts, (0.0, 1.0)).all())


def _wilson(share: float, samples: int) -> Interval:
    centre = (share + Z**2 / (2 * samples)) / (1 + Z**2 / samples)
    variance = share * (1 - share) / samples + (Z / (2 * samples)) ** 2
    half = Z * math.sqrt(max(0.0, variance)) / (1 + Z**2 / samples)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def _agresti_min(differences: Array) -> Interval:
    """Of the mean of differences -1, 0 and 1. It has a width where no sample differs, too."""
    samples = len(differences)
    total, unequal = float(differences.sum()), float(np.abs(differences).sum())
    half = Z * math.sqrt(unequal + 1 - total**2 / (samples + 2)) / (samples + 2)
    centre = total / (samples + 2)
    return max(-1.0, centre - half), min(1.0, centre + half)


def _around(value: float, deviation: float | None, metric: Metric) -> Interval | None:
    """The value ± 1.96 standard deviations, cut to 0..1 for a fraction."""
    if deviation is None:
        return None
    low, high = value - Z * deviation, value + Z * deviation
    if metric.unit == "fraction" and 0 <= value <= 1:
        return max(0.0, low), min(1.0, high)
    return low, high


def _deviation(values: Array | None) -> float | None:
    return None if values is None else float(np.std(values, ddof=1))


def _deviation_of_mean(parts: Array, samples: int) -> float:
    """The standard deviation of the mean over samples, of the means of parts of them."""
    count = len(parts)
    if count < 2:
        return 0.0
    sizes = _sizes(samples, count)
    mean = float(sizes @ parts) / samples
    return math.sqrt(float(sizes @ (parts - mean) ** 2) / (count - 1) / samples)


def _sizes(samples: int, count: int) -> Array:
    """How many samples are in each of `count` parts."""
    return np.array([len(range(start, samples, count)) for start in range(count)], float)


# --- time


def _timed(call: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    value = call()
    return value, time.perf_counter() - start


def _affordable(counts: Sequence[int], one_s: float, *, most: int | None = None) -> int:
    """The first of these counts (at most `most`) for which there is time, 0 when there is for none."""
    limited = [count if most is None else min(count, most) for count in counts]
    return next((count for count in limited if count * one_s <= BUDGET_S), 0)
