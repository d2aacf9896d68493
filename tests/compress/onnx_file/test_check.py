"""How far a file's outputs may be from torch's."""

import numpy as np
import pytest
from autocompress.compress.onnx_file.check import OutputCheck, check_outputs, quantized_tolerance
from autocompress.errors import StageError

RNG = np.random.default_rng(0)


def outputs(noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Outputs without and with a rounding that changed them by so much of their size."""
    plain = RNG.standard_normal((16, 100))
    return plain, plain + noise * RNG.standard_normal(plain.shape)


def test_the_tolerance_is_small_where_rounding_changes_little() -> None:
    plain, rounded = outputs(0.02)

    assert quantized_tolerance([rounded], [plain]) == 0.05


def test_a_network_that_makes_roundings_large_may_differ_more() -> None:
    plain, rounded = outputs(0.6)

    tolerance = quantized_tolerance([rounded], [plain])

    assert 0.2 < tolerance < 0.3
    check = OutputCheck(inputs=(), expected=(rounded,), tolerance=tolerance)
    check_outputs([rounded + 0.15 * RNG.standard_normal(plain.shape)], check)
    with pytest.raises(StageError, match="differs from torch"):
        check_outputs([plain], check)  # of the original, which the candidate is not


def test_the_tolerance_has_an_end() -> None:
    plain, rounded = outputs(3.0)

    assert quantized_tolerance([rounded], [100 * plain]) == 0.5
    assert quantized_tolerance([rounded], [np.full_like(plain, np.nan)]) == 0.05


def test_the_output_that_rounding_changed_most_counts() -> None:
    plain, rounded = outputs(0.6)
    quiet = np.ones((16, 2))

    assert quantized_tolerance([quiet, rounded], [quiet, plain]) > 0.2
