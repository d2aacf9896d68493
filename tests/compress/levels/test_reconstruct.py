"""Closed-form reconstruction against brute force: explicit inputs, explicit least squares."""

import pytest
import torch
from autocompress.compress.levels.reconstruct import (
    GroupReader,
    _State,
    compensated,
    damped,
    grid_limits,
    optimal_scale,
    output_error,
    removal_order,
    round_adaptively,
    round_compensating,
)

ROWS, COLUMNS, SAMPLES = 6, 12, 4000


@pytest.fixture
def layer():
    """Correlated inputs x (samples × columns), a weight 1 × rows × columns, and E[x xᵀ] as 1 × columns ×
    columns.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, COLUMNS, generator=generator) @ torch.randn(
        COLUMNS, COLUMNS, generator=generator
    )
    weight = torch.randn(1, ROWS, COLUMNS, generator=generator)
    return x, weight, (x.T @ x / SAMPLES).unsqueeze(0)


def true_error(weight, other, x):
    return float((x @ (weight - other)[0].T).square().sum(1).mean())


def nearest(weight, scale, bits):
    low, high = grid_limits(bits)
    return (weight / scale.unsqueeze(-1)).round().clamp(low, high)


def test_output_error_is_that_of_explicit_inputs(layer):
    x, weight, second = layer
    other = weight * 0.9
    assert output_error(weight - other, second) == pytest.approx(true_error(weight, other, x), rel=1e-4)


def test_compensated_weight_is_the_least_squares_solution_on_the_kept_columns(layer):
    x, weight, second = layer
    columns = torch.tensor([0, 2, 3, 7, 8, 9, 11])
    expected = torch.linalg.lstsq(x[:, columns], x @ weight[0].T).solution.T
    reconstructed = compensated(weight, second, columns)[0]
    assert float((x[:, columns] @ (reconstructed - expected).T).square().mean()) < 2e-3 * float(
        (x @ weight[0].T).square().mean()
    )


def test_removal_errors_are_those_of_the_compensated_weights(layer):
    x, weight, second = layer
    columns = torch.arange(COLUMNS).reshape(6, 2)
    removal = removal_order([GroupReader(weight=weight[0], second=second, columns=columns)], 6)
    energy = float((x @ weight[0].T).square().sum(1).mean())
    for gone in (1, 2, 4):
        remaining = columns[[unit for unit in range(6) if unit not in removal.order[:gone]]].flatten()
        full = torch.zeros_like(weight)
        full[..., remaining] = compensated(weight, second, remaining)
        assert removal.errors[gone] == pytest.approx(
            true_error(weight, full, x) / energy, rel=0.15, abs=0.004
        )  # damping adds some


def test_a_channel_that_another_one_repeats_goes_first():
    x = torch.randn(SAMPLES, 5, generator=torch.Generator().manual_seed(1))
    x[:, 4] = 2 * x[:, 1]
    second = x.T @ x / SAMPLES
    weight = torch.ones(3, 5)
    removal = removal_order(
        [GroupReader(weight=weight, second=second[None], columns=torch.arange(5)[:, None])], 5
    )
    assert removal.order[0] in (1, 4) and removal.errors[1] < 0.01 < removal.errors[2]
    assert list(removal.errors) == sorted(removal.errors) and sorted(removal.order) == [*range(5)]


def test_channels_that_go_together_leave_the_same_weight_as_one_after_the_other(layer):
    _, weight, second = layer
    columns = torch.arange(COLUMNS).reshape(6, 2)
    together, in_turns = (_State(GroupReader(weight=weight[0], second=second, columns=columns)) for _ in "ab")
    together.remove(torch.tensor([1, 4]))
    for unit in (1, 4):
        in_turns.remove(torch.tensor([unit]))
    torch.testing.assert_close(together.weight, in_turns.weight)
    left = torch.tensor([0, 2, 3, 5])
    torch.testing.assert_close(together.costs(left), in_turns.costs(left))


def test_cutting_what_is_gone_leaves_the_order_as_it_is(layer, monkeypatch):
    _, weight, second = layer
    reader = GroupReader(weight=weight[0], second=second, columns=torch.arange(COLUMNS).reshape(6, 2))
    whole = removal_order([reader], 6)
    monkeypatch.setattr("autocompress.compress.levels.reconstruct.COMPACT", 0)
    cut = removal_order([reader], 6)
    assert cut.order == whole.order and cut.errors == pytest.approx(whole.errors)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_optimal_scale_loses_no_more_than_the_largest_magnitude(layer, bits):
    _, weight, second = layer
    importance = second.diagonal(dim1=-2, dim2=-1)
    scale = optimal_scale(weight, importance, bits)
    low, high = grid_limits(bits)
    plain = torch.maximum(weight.amax(-1) / high, weight.amin(-1) / low)
    lost = [
        ((nearest(weight, s, bits) * s.unsqueeze(-1) - weight).square() * importance).sum()
        for s in (scale, plain)
    ]
    assert lost[0] <= lost[1] * 1.001


@pytest.mark.parametrize("bits", [4, 8])
def test_the_step_of_a_long_row_is_found_by_a_part_of_it(bits):
    draw = torch.Generator().manual_seed(5)
    weight = torch.randn(1, 8, 4608, generator=draw) * torch.rand(4608, generator=draw)
    importance = torch.rand(1, 4608, generator=draw)
    found = optimal_scale(weight, importance, bits)
    tried = torch.linspace(0.3, 1.5, 61)[:, None, None] * found
    lost = [
        ((nearest(weight, s, bits) * s.unsqueeze(-1) - weight).square() * importance).sum(-1)[0]
        for s in (found, *tried)
    ]
    assert (lost[0] <= 1.1 * torch.stack(lost[1:]).amin(0)).all()


@pytest.mark.parametrize("rounding", [round_compensating, round_adaptively])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_reconstructing_rounding_beats_rounding_to_nearest(layer, bits, rounding):
    x, weight, second = layer
    scale = optimal_scale(weight, second.diagonal(dim1=-2, dim2=-1), bits)
    integers = rounding(weight, second, scale, bits)
    low, high = grid_limits(bits)
    assert torch.equal(integers, integers.round()) and low <= integers.min() and integers.max() <= high
    errors = [
        true_error(weight, q * scale.unsqueeze(-1), x) for q in (integers, nearest(weight, scale, bits))
    ]
    assert errors[0] < 0.9 * errors[1]


def test_rounding_in_blocks_is_rounding_column_by_column():
    generator = torch.Generator().manual_seed(2)
    x, weight = torch.randn(500, 160, generator=generator), torch.randn(1, 5, 160, generator=generator)
    x = x @ torch.randn(160, 160, generator=generator) * torch.linspace(3, 1, 160)
    second = (x.T @ x / len(x)).unsqueeze(0)
    scale = optimal_scale(weight, second.diagonal(dim1=-2, dim2=-1), 4)
    remaining, columns = weight[0].double(), second[0].diagonal().argsort(descending=True)
    expected = torch.empty_like(remaining)
    while len(columns):  # optimal brain surgery: the inverse of what is not rounded yet, each time anew
        column = columns[0]
        expected[:, column] = (remaining[:, column] / scale[0]).round().clamp(-8, 7)
        error = remaining[:, column] - expected[:, column] * scale[0]
        inverse = torch.linalg.inv(damped(second.double())[0][columns][:, columns])
        remaining[:, columns] -= error[:, None] * inverse[0] / inverse[0, 0]
        columns = columns[1:]
    assert (round_compensating(weight, second, scale, 4)[0] != expected).float().mean() < 0.01


def test_inputs_that_never_occur_do_no_harm():
    weight, second = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 4, 4)
    scale = optimal_scale(weight, second.diagonal(dim1=-2, dim2=-1), 4)
    assert torch.isfinite(round_compensating(weight, second, scale, 4)).all()
    assert torch.isfinite(compensated(weight, second, torch.tensor([0, 1]))).all()
