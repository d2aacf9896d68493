"""Accumulators: they take the outputs of a split part after part, and keep no more than the metric needs."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..boundary import user_code
from ..splits.grouping import chosen_samples, rejoined
from ..task import Metric
from .nests import Rows, rows_of, total_of

KEPT_BYTES = 1 << 26  # of statistics by sample; of more only sums over groups of samples are kept
MOST_GROUPS, LEAST_GROUPS = 1_000, 50  # of them
GROUPS = 20  # of samples, for a torchmetrics.Metric


class Accumulator(Protocol):
    """What takes a split. `samples` counts what it took."""

    samples: int

    def add(self, outputs: Sequence[Any], targets: Any) -> None:
        """Takes a part: a tensor, an array or a list of samples for each output. TaskError where the user's
        code raises.
        """
        ...

    def value(self) -> float:
        """The metric of all that was taken; it may be NaN. TaskError where the user's code raises."""
        ...


def accumulator_of(metric: Metric) -> "AnyAccumulator":
    """An empty accumulator."""
    if metric.torchmetric is not None:
        return Grouped(metric)
    return Totals(metric) if metric.update is not None else Collected(metric)


class Collected:
    """Outputs (or what `prepare` makes of them) and targets of all samples, for a metric that needs them."""

    def __init__(self, metric: Metric):
        self.metric, self.samples = metric, 0
        self._parts: list[tuple[tuple[Any, ...], Any]] = []

    def add(self, outputs: Sequence[Any], targets: Any) -> None:
        """See Accumulator."""
        self.samples += len(outputs[0])
        self._parts.append((prepared(self.metric, outputs, targets), targets))

    @property
    def outputs(self) -> tuple[Tensor | list[Tensor], ...]:
        """What the metric's function gets, of all samples."""
        return self._joined()[0]

    @property
    def targets(self) -> Any:
        """The targets of all samples."""
        return self._joined()[1]

    def value(self) -> float:
        """See Accumulator."""
        return score_prepared(self.metric, *self._joined())

    def _joined(self) -> tuple[tuple[Any, ...], Any]:
        """All parts as one, which from now on is the only one."""
        if len(self._parts) > 1:
            outputs, targets = zip(*self._parts, strict=True)
            joined = tuple(rejoined(column) for column in zip(*outputs, strict=True)), rejoined(targets)
            self._parts = [joined]
        return self._parts[0]


class Totals:
    """Statistics of `update`, by sample, or by groups of samples where they would take too much memory.

    `rows` are samples (or groups) × numbers. Sample i is in group i modulo the number of groups.
    """

    def __init__(self, metric: Metric):
        self.metric, self.samples, self.grouped = metric, 0, False
        self._like: Any = None
        self._rows: list[Rows] = []

    def add(self, outputs: Sequence[Any], targets: Any) -> None:
        """See Accumulator."""
        tensors, taken = tuple(map(as_tensors, outputs)), len(outputs[0])
        if any(map(has_list, (tensors, targets))):  # of several shapes: one sample after the other
            parts = []
            for at in range(taken):
                one = slice(at, at + 1)
                chosen = tuple(stacked(chosen_samples(tensor, one)) for tensor in tensors)
                parts.append(self._updated(chosen, stacked(chosen_samples(targets, one)), 1))
            rows = np.concatenate(parts)
        else:
            rows = self._updated(tensors, targets, taken)
        if self.grouped:
            self._rows = [self._rows[0] + self._sums(rows, self.samples)]
        else:
            self._rows.append(rows)
        self.samples += taken
        if not self.grouped and self.samples * rows.shape[1] * 8 > KEPT_BYTES:
            self._rows, self.grouped = [self._sums(self.rows, 0)], True

    def _updated(self, tensors: tuple[Any, ...], targets: Any, count: int) -> Rows:
        assert self.metric.update is not None
        remedy = "metric.update(outputs, targets) returns statistics with an entry for each sample"
        with user_code("The metric", remedy=remedy):
            self._like = self.metric.update(single(tensors), targets)
            return rows_of(self._like, count)

    @property
    def rows(self) -> Rows:
        """The statistics."""
        if len(self._rows) > 1:
            self._rows = [np.concatenate(self._rows)]
        return self._rows[0]

    def value(self) -> float:
        """See Accumulator."""
        return self.value_of(self.rows.sum(axis=0))

    def value_of(self, total: Rows) -> float:
        """The metric of samples whose statistics have this sum; for a mean over samples, the sum."""
        compute = self.metric.compute
        if compute is None:
            return float(total[0]) / self.samples
        with user_code("The metric", remedy="metric.compute gets the sum of what update returns"):
            return float(compute(total_of(self._like, total)))

    def _sums(self, rows: Rows, first: int) -> Rows:
        """The sums of rows by group; `first` is the number of the first sample."""
        groups = max(LEAST_GROUPS, min(MOST_GROUPS, KEPT_BYTES // (8 * rows.shape[1])))
        sums = np.zeros((groups, rows.shape[1]))
        np.add.at(sums, (first + np.arange(len(rows))) % groups, rows)
        return sums


class Grouped:
    """A torchmetrics.Metric that was told all samples, and one for each of GROUPS groups of them.

    The metric is asked as it is; the groups, from which an interval comes, are there as long as its states
    can be merged. Sample i is in group i modulo GROUPS.
    """

    def __init__(self, metric: Metric):
        self.metric, self.samples = metric, 0
        self._whole = _fresh(metric)
        self._groups: list[Any] = [_fresh(metric) for _ in range(GROUPS)]

    def add(self, outputs: Sequence[Any], targets: Any) -> None:
        """See Accumulator."""
        tensors, first = tuple(map(as_tensors, outputs)), self.samples
        self.samples += len(tensors[0])
        self._tell(self._whole, tensors, targets)
        for number, group in enumerate(self._groups):
            rows = slice((number - first) % GROUPS, None, GROUPS)
            if len(tensors[0]) > rows.start:
                chosen = tuple(chosen_samples(tensor, rows) for tensor in tensors)
                self._tell(group, chosen, chosen_samples(targets, rows))

    def _tell(self, torchmetric: Any, tensors: tuple[Any, ...], targets: Any) -> None:
        arguments = self.metric.arguments
        with user_code("The metric", remedy="It is called as torchmetrics do, update(outputs, targets)"):
            both = (single(tensors), targets)
            torchmetric.update(*(both if arguments is None else arguments(*both)))

    def value(self) -> float:
        """See Accumulator."""
        return self._value_of(self._whole)

    def without_each(self) -> Rows | None:
        """The metric without each group of samples in turn; None where states cannot be merged."""
        if self.samples < 2 * GROUPS:
            return None
        try:
            whole = self._value_of(self._merged(self._groups))
            if not np.isclose(whole, self.value(), rtol=1e-4, atol=1e-7):
                return None
            left_out = [self._groups[:at] + self._groups[at + 1 :] for at in range(GROUPS)]
            return np.array([self._value_of(self._merged(groups)) for groups in left_out])
        except (RuntimeError, ValueError, TypeError, NotImplementedError):  # as torchmetrics refuse to merge
            return None

    def _merged(self, groups: Sequence[Any]) -> Any:
        merged = _fresh(self.metric)
        for group in groups:
            merged.merge_state(group)
        return merged

    def _value_of(self, torchmetric: Any) -> float:
        compute = self.metric.compute
        remedy = "compute must give one number: choose an average, or give compute=lambda result: …"
        with user_code("The metric", remedy=remedy):
            result = torchmetric.compute()
            return float(result if compute is None else compute(result))


AnyAccumulator = Collected | Totals | Grouped


def _fresh(metric: Metric) -> Any:
    """A torchmetrics.Metric of the same kind that was told nothing."""
    fresh = metric.torchmetric.clone()
    fresh.reset()
    return fresh


# --- what the user's functions get


def prepared(metric: Metric, outputs: Sequence[Any], targets: Any) -> tuple[Tensor | list[Tensor], ...]:
    """What the metric's function gets of outputs: them, or what `prepare` makes of them.

    TaskError where that raises, or has not an entry for each sample.
    """
    tensors = tuple(map(as_tensors, outputs))
    if metric.prepare is None:
        return tensors
    with user_code("The metric", remedy="metric.prepare(outputs, targets) returns one entry for each sample"):
        entries = as_tensors(metric.prepare(single(tensors), targets))
        if len(entries) != len(tensors[0]):
            raise ValueError(f"prepare made {len(entries)} entries of {len(tensors[0])} samples")
    return (entries,)


def score_prepared(metric: Metric, tensors: tuple[Tensor | list[Tensor], ...], targets: Any) -> float:
    """The metric of what `prepared` returned, or of the same samples of it and of the targets."""
    assert metric.function is not None
    remedy = "metric.function(outputs, targets) sees a whole split and returns a float"
    if any(isinstance(one, list) for one in (*tensors, targets)):
        remedy += ". Where shapes differ from sample to sample it gets a list with one tensor for each"
    with user_code("The metric", remedy=remedy):
        return float(metric.function(single(tensors), targets))


def has_list(value: Any) -> bool:
    """Whether a nest has a list of samples, whose shapes differ, in the place of a tensor."""
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return any(map(has_list, value))
    return isinstance(value, list) and bool(value) and isinstance(value[0], Tensor)


def stacked(value: Any) -> Any:
    """A nest with each list of one tensor as a batch of one."""
    if isinstance(value, Mapping):
        return {key: stacked(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(stacked, value))
    return torch.stack(value) if has_list(value) else value


def single(tensors: tuple[Any, ...]) -> Any:
    """The only one by itself, several as a tuple."""
    return tensors[0] if len(tensors) == 1 else tensors


def as_tensors(output: Any) -> Tensor | list[Tensor]:
    """An output of many samples: a tensor, or a list of one for each sample."""
    return [torch.as_tensor(one) for one in output] if isinstance(output, list) else torch.as_tensor(output)
