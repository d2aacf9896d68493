"""How far a file's outputs may be from torch's."""

import numpy as np
import pytest
from autocompress.compress.onnx_file.check import OutputCheck, check_outputs
from autocompress.errors import StageError

RNG = np.random.default_rng(0)


def outputs(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Outputs without and with a rounding that changed them by so much of their size."""
    plain = RNG.standard_normal((16, 100))
    return plain, plain + noise * RNG.standard_normal(plain.shape)


def check_of(plain: np.ndarray, rounded: np.ndarray) -> OutputCheck:
    return OutputCheck(inputs=(), expected=(rounded,), tolerance=0.05, unrounded=(plain,))


def test_a_file_is_right_that_differs_little_from_torch() -> None:
    plain, rounded = outputs(0.02)

    check_outputs([rounded + 0.03 * RNG.standard_normal(plain.shape)], check_of(plain, rounded))


@pytest.mark.parametrize("noise", [0.1, 0.6, 3.0])
def test_a_file_is_right_whose_roundings_move_a_network_as_far_as_those_of_torch(noise: float) -> None:
    plain, rounded = outputs(noise)

    check_outputs([plain + noise * RNG.standard_normal(plain.shape)], check_of(plain, rounded))


@pytest.mark.parametrize(("noise", "moved"), [(0.02, 0.3), (0.1, 0.3), (0.6, 1.2), (0.6, 0.0)])
def test_a_file_is_wrong_that_moves_the_outputs_farther_or_less(noise: float, moved: float) -> None:
    plain, rounded = outputs(noise)

    with pytest.raises(StageError, match="differs from torch"):
        check_outputs([plain + moved * RNG.standard_normal(plain.shape)], check_of(plain, rounded))


def test_unrounded_outputs_that_are_not_finite_allow_nothing() -> None:
    plain, rounded = outputs(0.6)

    with pytest.raises(StageError, match="differs from torch"):
        check_outputs([2 * rounded], check_of(np.full_like(plain, np.nan), rounded))


def test_each_output_is_compared_with_its_own() -> None:
    plain, rounded = outputs(0.6)
    quiet = np.ones((16, 2))
    check = OutputCheck(inputs=(), expected=(quiet, rounded), tolerance=0.05, unrounded=(quiet, plain))

    check_outputs([quiet, plain + 0.6 * RNG.standard_normal(plain.shape)], check)
    with pytest.raises(StageError, match="output 0 differs from torch"):
        check_outputs([1.2 * quiet, rounded], check)
