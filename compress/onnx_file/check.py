"""The outputs that an artifact must give before anything about it is measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import StageError

FLOAT_TOLERANCE = 1e-3
HALF_TOLERANCE = 0.01
QUANTIZED_TOLERANCE = 0.05
LIKE_TORCH = (0.5, 1.5)  # how far a file's roundings may move the outputs, relative to how far torch's do


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """Inputs, and the outputs of the same (fake-quantized) model in torch.

    `tolerance` bounds the root mean square of the difference, relative to that of the expected output. It was
    0.004 for a quantized ResNet in which the runtime rounds some values the other way, and more than 0.3 with
    a misplaced scale or channel.

    A network that makes small differences large does so with values that a runtime rounds the other way, too:
    a MobileNetV2 with random weights differed by 0.09 where rounding itself changed 0.1. So a file is also
    right that moves the outputs about as far as torch does (LIKE_TORCH) from the `unrounded` ones, those of
    the same weights without rounded activations; there are none where activations are not rounded.
    """

    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    tolerance: float
    unrounded: tuple[np.ndarray, ...] = ()


Answer = np.ndarray | list[np.ndarray]  # of all samples; a list of them where their shapes differ


def relative_error(actual: Answer, expected: Answer) -> float:
    """Root mean square of the difference over that of `expected`; infinite for other shapes or NaN."""
    actual, expected = _flat(actual, expected), _flat(expected, expected)
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    return float(np.sqrt(np.mean(np.square(actual.astype(np.float64) - expected)))) / scale


def _flat(answer: Answer, like: Answer) -> np.ndarray:
    """The answer as one array; a list end to end, if its shapes are those of the other one."""
    if isinstance(answer, np.ndarray):
        return answer
    if not isinstance(like, list) or [x.shape for x in answer] != [x.shape for x in like]:
        return np.empty(0)
    return np.concatenate([x.ravel() for x in answer])


def _moved_like_torch(actual: Answer, check: OutputCheck, index: int) -> bool:
    """Whether a file's roundings moved an output as far as those of torch did."""
    if not check.unrounded:
        return False
    expected, unrounded = check.expected[index], check.unrounded[index]
    theirs, low, high = relative_error(expected, unrounded), *LIKE_TORCH
    return np.isfinite(theirs) and low * theirs <= relative_error(actual, unrounded) <= high * theirs


def check_outputs(actual: Sequence[Answer], check: OutputCheck) -> None:
    """Raises StageError (wrong-output) if the runtime's outputs are not those of the model."""
    if len(actual) != len(check.expected):
        message = f"{len(actual)} outputs instead of {len(check.expected)}"
        raise StageError(message, stage="run", kind="wrong-output")
    for index, (output, expected) in enumerate(zip(actual, check.expected, strict=True)):
        error = relative_error(output, expected)
        if error > check.tolerance and not _moved_like_torch(output, check, index):
            difference = f"differs from torch by {error:.2g} of its size ({check.tolerance:g} allowed)"
            message = f"output {index} {difference}; shape {getattr(output, 'shape', 'varies')}"
            raise StageError(message, stage="run", kind="wrong-output")
