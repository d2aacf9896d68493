"""The outputs that an artifact must give before anything about it is measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import StageError

FLOAT_TOLERANCE = 1e-3
HALF_TOLERANCE = 0.01
QUANTIZED_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCheck:
    """Inputs, and the outputs of the same (fake-quantized) model in torch.

    `tolerance` bounds the root mean square of the difference, relative to that of the expected output. It was
    0.004 for a quantized ResNet in which the runtime rounds some values the other way, and more than 0.3 with
    a misplaced scale or channel.
    """

    inputs: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    tolerance: float


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the difference over that of `expected`; infinite for other shapes or NaN."""
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    return float(np.sqrt(np.mean(np.square(actual.astype(np.float64) - expected)))) / scale


def check_outputs(actual: Sequence[np.ndarray], check: OutputCheck) -> None:
    """Raises StageError (wrong-output) if the runtime's outputs are not those of the model."""
    if len(actual) != len(check.expected):
        message = f"{len(actual)} outputs instead of {len(check.expected)}"
        raise StageError(message, stage="run", kind="wrong-output")
    for index, (output, expected) in enumerate(zip(actual, check.expected, strict=True)):
        error = relative_error(output, expected)
        if error > check.tolerance:
            difference = f"differs from torch by {error:.2g} of its size ({check.tolerance:g} allowed)"
            message = f"output {index} {difference}; shape {output.shape}"
            raise StageError(message, stage="run", kind="wrong-output")
