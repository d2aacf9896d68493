"""How sure a metric is: the bootstrap interval of one value over the samples of its split."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..tasks.quality import score
from ..tasks.task import Metric

RESAMPLES = 200
_TIME_S = 0.1
_LEAST = 20


def bootstrap_interval(
    metric: Metric, outputs: Sequence[np.ndarray[Any, Any]], targets: Any, *, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % percentile interval of the metric over resampled samples; None when the metric is too slow for it.

    Works for any metric of a whole split. At most RESAMPLES and about 0.1 s; fewer than 20 finite values give None.
    Source: Efron, Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.as_tensor(output) for output in outputs]
    count, start = len(tensors[0]), time.perf_counter()
    values: list[float] = []
    for _ in range(RESAMPLES):
        index = torch.randint(count, (count,), generator=generator)
        value = score(metric, [tensor[index] for tensor in tensors], chosen_samples(targets, index))
        values += [value] if math.isfinite(value) else []
        spent = time.perf_counter() - start
        if spent > _TIME_S and len(values) < _LEAST and spent / max(1, len(values)) * _LEAST > 5 * _TIME_S:
            return None
        if spent > _TIME_S and len(values) >= _LEAST:
            break
    if len(values) < _LEAST:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def chosen_samples(targets: Any, index: torch.Tensor) -> Any:
    """The batched targets at these positions: tensors by dimension 0, containers part by part, lists item by item."""
    if isinstance(targets, torch.Tensor):
        return targets[index]
    if isinstance(targets, Mapping):
        return {key: chosen_samples(part, index) for key, part in targets.items()}
    if isinstance(targets, tuple):
        return tuple(chosen_samples(part, index) for part in targets)
    return [targets[position] for position in index.tolist()]
