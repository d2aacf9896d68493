"""Axes of charts have round numbers, and few of them."""

import pytest
from autocompress.text.svg import round_numbers


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (0.0, 1.0, [0.0, 0.5, 1.0]),
        (-0.3, 0.4, [-0.2, 0.0, 0.2, 0.4]),
        (118.0, 121.0, [118.0, 119.0, 120.0, 121.0]),
    ],
)
def test_an_axis_has_multiples_of_a_round_step_between_its_ends(low, high, numbers):
    assert round_numbers(low, high, most=4) == pytest.approx(numbers)


def test_ends_that_floats_hardly_tell_apart_give_few_numbers():
    assert len(round_numbers(1.0, 1.0 + 4e-16, most=4)) <= 9
