"""How good a model is on a split: outputs, then the task's metric."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .data import Randomness, read, sample_count
from .metrics.accumulate import accumulator_of
from .plain.devices import CPU, device_of, full_precision, on
from .plain.parts import fixed_batch, in_parts
from .splits.grouping import Inputs, concatenated
from .task import Metric, Outputs, Split

_TIMED = 8  # samples whose time tells that of others
_LEAST = 32  # samples that are looked at, whatever they take


def outputs_of(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    """The model's outputs as a tuple, without gradients, in its present mode and where it is; a traced model
    that takes one batch size gets parts of that size.
    """
    device = device_of(model)
    with torch.inference_mode(), full_precision(device):
        return as_tuple(in_parts(model, on(inputs, device), fixed_batch(model)))


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
    accumulator = accumulator_of(metric)
    accumulator.add(outputs, targets)
    return accumulator.value()


def evaluate(model: nn.Module, split: Split, metric: Metric, *, limit: int | None = None) -> float:
    """The metric of a torch model, in its present mode and where it is, on a split or on `limit` samples of
    it.
    """
    accumulator = accumulator_of(metric)
    for inputs, targets in Randomness(0).drawing(read(split, limit=limit)):
        outputs, true = concatenated([_on_cpu(model, inputs)]), concatenated([targets])
        accumulator.add(outputs, true)
    return accumulator.value()


def _on_cpu(model: nn.Module, inputs: Inputs) -> tuple[Any, ...]:
    """The outputs, on the CPU; of one half after the other where a GPU's memory runs out."""
    count = len(inputs[0])
    try:
        return on(outputs_of(model, inputs), CPU)
    except torch.OutOfMemoryError:
        if count < 2:
            raise
    halves = [tuple(x[: count // 2] for x in inputs), tuple(x[count // 2 :] for x in inputs)]
    return tuple(concatenated([_on_cpu(model, half) for half in halves]))


def samples_within(model: nn.Module, split: Split, *, seconds: float) -> int | None:
    """How many samples of a split the model can answer in so many seconds, at least a few; None where these
    are all. A few are run, to tell.
    """
    took = []
    for _ in range(2):  # the first time, memory is allocated
        start = time.perf_counter()
        for inputs, _targets in Randomness(0).drawing(read(split, limit=_TIMED)):
            _on_cpu(model, inputs)
        took.append(time.perf_counter() - start)
    fitting = max(_LEAST, int(_TIMED * seconds / max(took[-1], 1e-6)))
    count = sample_count(split)
    return None if (math.inf if count is None else count) <= fitting else fitting


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
    for inputs, batch_targets in Randomness(0).drawing(read(split, limit=limit)):
        outputs.append(outputs_of(model, inputs))
        targets.append(batch_targets)
    return concatenated(outputs), concatenated(targets)
