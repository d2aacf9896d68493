"""Metrics of classes, also of each position: accuracy, F1, precision, recall, mean IoU. Targets of IGNORED do
not count.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ..task import Metric

IGNORED = -100
Average = Literal["macro", "micro"] | int

Counts = Callable[[Tensor, Tensor, Tensor], Tensor]


def top_k(k: int = 1) -> Metric:
    """The share of samples whose class is among the k largest scores: outputs N × classes, targets N."""

    def hits(outputs: Tensor, targets: Tensor) -> Tensor:
        best = outputs.topk(k, dim=1).indices
        return (best == targets.unsqueeze(1)).any(1).double()

    return Metric(name=f"top-{k} accuracy", update=hits)


def f1(average: Average = "macro") -> Metric:
    """2·tp / (2·tp + fp + fn) of outputs N × classes (× positions) and targets N (× positions).

    "macro": the mean over the classes that occur; "micro": of all together; a number: of this class alone.
    """
    return _of_counts("F1", average, lambda hits, false, missed: 2 * hits / (2 * hits + false + missed))


def precision(average: Average = "macro") -> Metric:
    """tp / (tp + fp); see `f1`. A class that is never said has 0."""
    return _of_counts("precision", average, lambda hits, false, missed: hits / (hits + false))


def recall(average: Average = "macro") -> Metric:
    """tp / (tp + fn); see `f1`. A class that is said and never true has 0."""
    return _of_counts("recall", average, lambda hits, false, missed: hits / (hits + missed))


def mean_iou() -> Metric:
    """tp / (tp + fp + fn), the mean over the classes that occur: outputs N × classes × positions."""
    return _of_counts("mean IoU", "macro", lambda hits, false, missed: hits / (hits + false + missed))


def class_counts(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of each sample and class how often it was right, falsely said and missed: N × classes × 3."""
    samples, classes = outputs.shape[:2]
    said, true = outputs.argmax(1).reshape(samples, -1), targets.reshape(samples, -1).long()
    counted = true != IGNORED
    rows = torch.arange(samples).unsqueeze(1).expand_as(true)

    def count(which: Tensor, of: Tensor) -> Tensor:
        places = rows[which] * classes + of[which]
        return torch.bincount(places, minlength=samples * classes).view(samples, classes).double()

    equal = said == true
    return torch.stack(
        [count(counted & equal, true), count(counted & ~equal, said), count(counted & ~equal, true)], 2
    )


def _of_counts(name: str, average: Average, share: Counts) -> Metric:
    def compute(counts: Tensor) -> float:
        if average == "micro":
            counts = counts.sum(0, keepdim=True)
        elif average != "macro":
            counts = counts[average : average + 1]
        else:
            counts = counts[counts.sum(1) > 0]
        return float(share(*counts.unbind(1)).nan_to_num(0.0).mean())

    of = {"macro": "", "micro": " (micro)"}.get(str(average), f" of class {average}")
    return Metric(name=name + of, update=class_counts, compute=compute)
