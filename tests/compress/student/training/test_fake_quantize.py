"""Weights on a grid: straight-through rounding, learned steps, and what folding makes of both."""

import numpy as np
import pytest
import torch
from autocompress.compress.graph.graph import (
    fold_batch_norms,
    get_tensor,
    layer_nodes,
    make_norms_positive,
    weight_nodes,
)
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.levels.reconstruct import Rounding
from autocompress.compress.student.training.fake_quantize import (
    GridWeights,
    folded_steps,
    near_grid,
    start_on_grid,
)
from autocompress.tests.models import tiny_model

LAYER = "body.0.0"


@pytest.fixture
def module():
    row = tiny_model("residual")
    return trace(row.build(), row.example_inputs())


def grid_of(module, bits):
    weight = str(weight_nodes(dict(layer_nodes(module))[LAYER])[0].target)
    step = get_tensor(module, weight).detach().abs().flatten(1).amax(1) / 2 ** (bits - 1)
    return GridWeights(module, {LAYER: bits}, {LAYER: step}), weight


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_rounded_weights_are_integers_times_the_step(module, bits):
    grid, weight = grid_of(module, bits)
    step = grid.steps[0].detach().reshape(-1, 1, 1, 1)
    integers = grid.rounded(module)[weight].detach() / step
    torch.testing.assert_close(integers, integers.round(), atol=1e-4, rtol=0)
    assert integers.round().min() >= -(2 ** (bits - 1)) and integers.round().max() <= 2 ** (bits - 1) - 1


def test_gradients_pass_inside_the_grid_only_and_reach_the_steps(module):
    grid, weight = grid_of(module, 2)
    parameter, step = get_tensor(module, weight), grid.steps[0]
    grid.rounded(module)[weight].sum().backward()
    scaled = parameter.detach() / step.detach().reshape(-1, 1, 1, 1)
    inside = (scaled > -2) & (scaled < 1)
    assert parameter.grad is not None and torch.equal(parameter.grad, inside.float())
    expected = (
        torch.where(inside, scaled.round() - scaled, scaled.clamp(-2, 1)).sum((1, 2, 3))
        / scaled[0].numel() ** 0.5
    )
    torch.testing.assert_close(step.grad, expected, rtol=1e-4, atol=1e-5)


def test_training_starts_at_the_rounding_that_reconstruction_chose(module):
    grid, weight = grid_of(module, 3)
    original = get_tensor(module, weight).detach().clone()
    step = grid.steps[0].detach()
    rounded = (original / step.reshape(-1, 1, 1, 1)).ceil().clamp(-4, 3) * step.reshape(-1, 1, 1, 1)
    module.get_parameter(weight).data.copy_(rounded)
    started = start_on_grid(module, {LAYER: Rounding(step=step, weight=original)}, {LAYER: 3})
    torch.testing.assert_close(started.rounded(module)[weight].detach(), rounded)
    assert (get_tensor(module, weight) - original).abs().mean() < (rounded - original).abs().mean()
    assert torch.equal(near_grid(rounded, rounded, step), rounded)


@pytest.mark.parametrize(("precision", "kind"), [("fp8", torch.float8_e4m3fn), ("float16", torch.float16)])
def test_weights_with_exponents_are_rounded_to_nearest_and_pass_the_gradient(module, precision, kind):
    grid = GridWeights(module, {}, {}, {LAYER: precision})
    weight = f"{LAYER}.weight"
    parameter = get_tensor(module, weight)
    rounded = grid.rounded(module)[weight]
    rounded.sum().backward()
    assert parameter.grad is not None and torch.equal(parameter.grad, torch.ones_like(parameter))
    step = parameter.detach().abs().amax((1, 2, 3), keepdim=True) / 448 if precision == "fp8" else 1.0
    scaled = rounded.detach() / step
    torch.testing.assert_close(scaled.to(kind).float(), scaled, rtol=1e-5, atol=0)
    assert not torch.equal(rounded.detach(), parameter.detach())


def test_folded_steps_give_the_same_integers(module):
    make_norms_positive(module)
    grid, weight = grid_of(module, 3)
    step = grid.steps[0].detach().clone()
    integers = (grid.rounded(module)[weight].detach() / step.reshape(-1, 1, 1, 1)).round()
    steps = grid.settle(module)
    folded = fold_batch_norms(module)
    actual = folded_steps(module, folded, steps)[LAYER].numpy()
    again = np.rint(get_tensor(folded, weight).detach().numpy() / actual.reshape(-1, 1, 1, 1))
    assert np.array_equal(again, integers.numpy())


def test_positive_norms_leave_the_answers_exactly_as_they_are():
    row = tiny_model("residual")
    model, inputs = row.build(), row.example_inputs()
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.weight[::2] *= -1
    module = trace(model, inputs)
    with torch.inference_mode():
        before = module(*inputs)
        make_norms_positive(module)
        assert torch.allclose(module(*inputs), before, atol=1e-6)
    gammas = [
        get_tensor(module, node.args[1].target) for node in module.graph.nodes if "batch_norm" in node.name
    ]
    assert gammas and all((gamma >= 0).all() for gamma in gammas)


def test_a_gamma_that_training_turns_negative_is_kept_positive(module):
    grid, _ = grid_of(module, 2)
    (gamma,) = grid.gammas
    with torch.no_grad():
        get_tensor(module, gamma)[0] = -0.5
    grid.keep_signs(module)
    assert 0 < get_tensor(module, gamma)[0] < 1e-5
