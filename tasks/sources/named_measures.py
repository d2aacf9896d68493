"""Losses and metrics by name, for tasks without Python code."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import TaskError
from ..task import Metric, accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """A loss to train with, and a metric to judge by."""

    loss: Callable[[Any, Any], Tensor]
    metric: Metric


def measures(metric: str, loss: str | None) -> Measures:
    """The metric and the loss with these names; without `loss`, the one that goes with the metric.

    Raises TaskError that lists the names.
    """
    if metric not in _METRICS:
        raise TaskError(f"There is no metric {metric!r} by name: give metric={_any_of(_METRICS)}.")
    if loss is not None and loss not in _LOSSES:
        raise TaskError(f"There is no loss {loss!r} by name: give loss={_any_of(_LOSSES)}.")
    chosen, usual = _METRICS[metric]
    return Measures(loss=_LOSSES[loss or usual], metric=chosen)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs N × classes (× positions), targets the indices of the classes."""
    _require_indices(targets, outputs)
    return F.cross_entropy(outputs, targets)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs are logits, one for each 0 or 1 of the targets."""
    return F.binary_cross_entropy_with_logits(outputs, _alike(targets, outputs))


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of all entries."""
    return F.mse_loss(outputs, _alike(targets, outputs))


def mean_absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of all entries."""
    return F.l1_loss(outputs, _alike(targets, outputs))


def class_accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share of indices that the largest of the classes in dimension 1 hits."""
    _require_indices(targets, outputs)
    return accuracy(outputs, targets)


def binary_accuracy(outputs: Tensor, targets: Tensor) -> float:
    """The share of 0 and 1 that the signs of the logits hit."""
    return float(((outputs > 0) == (_alike(targets, outputs) > 0.5)).double().mean())


def root_mean_squared_error(outputs: Tensor, targets: Tensor) -> float:
    """Of all entries."""
    return float(mean_squared_error(outputs, targets).sqrt())


def _require_indices(targets: Tensor, outputs: Tensor) -> None:
    if outputs.shape[:1] + outputs.shape[2:] != targets.shape or targets.is_floating_point():
        raise TaskError(
            f"The outputs are {_shape(outputs)} and the targets {_shape(targets)} of {targets.dtype}, but "
            "accuracy and cross-entropy need classes in dimension 1 and their indices: store integers, or "
            "choose another metric."
        )


def _alike(targets: Tensor, outputs: Tensor) -> Tensor:
    """The targets in shape and type of the outputs: N and N × 1 mean the same, and must not be broadcast."""
    if targets.numel() != outputs.numel() or len(targets) != len(outputs):
        raise TaskError(
            f"The outputs are {_shape(outputs)} and the targets {_shape(targets)}: this loss or metric "
            "compares entry by entry, so store targets of the outputs' shape."
        )
    return torch.as_tensor(targets).reshape(outputs.shape).to(outputs.dtype)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _any_of(names: Iterable[str]) -> str:
    return " or ".join(names)


def _lower(name: str, function: Callable[[Any, Any], Any]) -> Metric:
    return Metric(name=name, function=function, direction="lower", unit="")


_LOSSES = {
    "cross-entropy": cross_entropy,
    "bce": binary_cross_entropy,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
}
_METRICS = {  # with the name of the usual loss
    "accuracy": (Metric(name="top-1 accuracy", function=class_accuracy), "cross-entropy"),
    "cross-entropy": (_lower("cross-entropy", cross_entropy), "cross-entropy"),
    "binary-accuracy": (Metric(name="binary accuracy", function=binary_accuracy), "bce"),
    "mse": (_lower("mean squared error", mean_squared_error), "mse"),
    "rmse": (_lower("root mean squared error", root_mean_squared_error), "mse"),
    "mae": (_lower("mean absolute error", mean_absolute_error), "mae"),
}
