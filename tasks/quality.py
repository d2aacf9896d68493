"""How good a model is on a split: outputs, then the task's metric."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .boundary import user_code
from .data import Randomness, read, sample_count
from .plain.parts import fixed_batch, in_parts
from .splits.grouping import Inputs, concatenated
from .task import Metric, Outputs, Split

_TIMED = 8  # samples whose time tells that of others
_LEAST = 32  # samples that are looked at, whatever they take
_NUMBERS = 1 << 23  # of inputs that are run at once
_BATCH = 256


def outputs_of(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    """The model's outputs as a tuple, without gradients, in its present mode; a traced model that takes one
    batch size gets parts of that size.
    """
    with torch.inference_mode():
        return as_tuple(in_parts(model, inputs, fixed_batch(model)))


def as_tuple(outputs: Outputs | list[Tensor]) -> tuple[Tensor, ...]:
    """One output or several, as a tuple."""
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def shape_text(tensor: Tensor) -> str:
    """`3×32×32`, or `scalar`."""
    return "×".join(str(size) for size in tensor.shape) or "scalar"


def score(metric: Metric, outputs: Sequence[Any], targets: Any) -> float:
    """The metric of the outputs of a whole split: a sequence of tensors or arrays, one per output.

    The metric sees a single output as a tensor, several as a tuple; one whose shape differs from sample to
    sample is a list with a tensor for each. The value may be NaN. An exception of the metric becomes a
    TaskError.
    """
    return score_prepared(metric, prepared(metric, outputs, targets), targets)


def prepared(metric: Metric, outputs: Sequence[Any], targets: Any) -> tuple[Tensor | list[Tensor], ...]:
    """What the metric's function gets of the outputs of a whole split: them, or what `prepare` makes of them.

    TaskError where that raises, or has not an entry for each sample.
    """
    tensors = tuple(map(as_tensors, outputs))
    if metric.prepare is None:
        return tensors
    with user_code("The metric", remedy="metric.prepare(outputs, targets) returns one entry for each sample"):
        entries = as_tensors(metric.prepare(_single(tensors), targets))
        if len(entries) != len(tensors[0]):
            raise ValueError(f"prepare made {len(entries)} entries of {len(tensors[0])} samples")
    return (entries,)


def score_prepared(metric: Metric, tensors: tuple[Tensor | list[Tensor], ...], targets: Any) -> float:
    """The metric of what `prepared` returned, or of the same samples of it and of the targets."""
    remedy = "metric.function(outputs, targets) sees a whole split and returns a float"
    if any(isinstance(one, list) for one in (*tensors, targets)):
        remedy += ". Where shapes differ from sample to sample it gets a list with one tensor for each"
    with user_code("The metric", remedy=remedy):
        return float(metric.function(_single(tensors), targets))


def _single(tensors: tuple[Any, ...]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def as_tensors(output: Any) -> Tensor | list[Tensor]:
    """An output of a whole split: a tensor, or a list of one for each sample."""
    return [torch.as_tensor(one) for one in output] if isinstance(output, list) else torch.as_tensor(output)


def evaluate(model: nn.Module, split: Split, metric: Metric, *, limit: int | None = None) -> float:
    """The metric of a torch model, in its present mode, on a split or on `limit` samples of it."""
    outputs, targets = _answers(model, split, limit)
    return score(metric, outputs, targets)


def samples_within(model: nn.Module, split: Split, *, seconds: float) -> int | None:
    """How many samples of a split the model can answer in so many seconds, at least a few; None where these
    are all. A few are run, to tell.
    """
    took = []
    for _ in range(2):  # the first time, memory is allocated
        start = time.perf_counter()
        for inputs, _targets in Randomness(0).drawing(read(split, limit=_TIMED)):
            outputs_of(model, inputs)
        took.append(time.perf_counter() - start)
    fitting = max(_LEAST, int(_TIMED * seconds / max(took[-1], 1e-6)))
    count = sample_count(split)
    return None if (math.inf if count is None else count) <= fitting else fitting


def _fitting(split: Split) -> int:
    """How many samples are run at once, fewer where they are large; a loader has a batch size of its own."""
    if isinstance(split, DataLoader):
        return _BATCH
    first = next(Randomness(0).drawing(read(split, limit=1)), None)
    numbers = 0 if first is None else sum(x.numel() for x in first[0])
    return max(1, min(_BATCH, _NUMBERS // max(1, numbers)))


def evaluate_mismatched(model: nn.Module, split: Split, metric: Metric, *, limit: int) -> float:
    """The same when every sample gets the answer to another one: what a useless model scores."""
    outputs, targets = _answers(model, split, limit)
    return score(metric, [_rolled(output) for output in outputs], targets)


def _rolled(output: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    half = len(output) // 2
    return output.roll(half, 0) if isinstance(output, Tensor) else output[half:] + output[:half]


def _answers(
    model: nn.Module, split: Split, limit: int | None
) -> tuple[tuple[Tensor | list[Tensor], ...], Any]:
    """The outputs and the targets of the split, each of all samples."""
    outputs, targets = [], []
    for inputs, batch_targets in Randomness(0).drawing(read(split, limit=limit, batch_size=_fitting(split))):
        outputs.append(outputs_of(model, inputs))
        targets.append(batch_targets)
    return concatenated(outputs), concatenated(targets)
