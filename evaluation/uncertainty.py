"""How sure a metric is: the bootstrap interval of one value over the samples of its split."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..tasks.quality import score
from ..tasks.task import Metric

RESAMPLES = 100
SLOW_S = 0.05  # a metric that takes longer is not resampled


def bootstrap_interval(
    metric: Metric, outputs: Sequence[np.ndarray[Any, Any]], targets: Any, *, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % interval of the metric: value ± 1.96 standard deviations over resampled samples; the same for
    the same seed.

    Works for any metric of a whole split. None when the metric is slow, or not finite on a resampled split.
    Source: Efron, Tibshirani, "An Introduction to the Bootstrap" (1993), section 12.2.
    """
    start = time.perf_counter()
    value = score(metric, outputs, targets)
    if time.perf_counter() - start > SLOW_S:
        return None
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.as_tensor(output) for output in outputs]
    count, values = len(tensors[0]), []
    for _ in range(RESAMPLES):
        index = torch.randint(count, (count,), generator=generator)
        values.append(score(metric, [tensor[index] for tensor in tensors], chosen_samples(targets, index)))
    if not all(map(math.isfinite, values)):
        return None
    half = 1.96 * statistics.stdev(values)
    return value - half, value + half


def chosen_samples(targets: Any, index: torch.Tensor) -> Any:
    """The batched targets at these positions: tensors by dimension 0, containers part by part, lists item by
    item.
    """
    if isinstance(targets, torch.Tensor):
        return targets[index]
    if isinstance(targets, Mapping):
        return {key: chosen_samples(part, index) for key, part in targets.items()}
    if isinstance(targets, tuple):
        return tuple(chosen_samples(part, index) for part in targets)
    return [targets[position] for position in index.tolist()]
