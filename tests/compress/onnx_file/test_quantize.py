"""The quantizer against NumPy written from the definitions."""

import numpy as np
import pytest
import torch
from autocompress.compress.graph.graph import fold_batch_norms, layer_nodes
from autocompress.compress.graph.quantized import layer_ends, plan_quantization
from autocompress.compress.graph.tracing.trace import trace
from autocompress.compress.levels.activations import Observed, observe, scale_of_range
from autocompress.compress.onnx_file.encoding.quantize import quantize_layer
from autocompress.tests.models import tiny_model


def reference_uint8(x, low, high):
    scale = (max(high, 0) - min(low, 0)) / 255
    zero = np.clip(np.round(-min(low, 0) / scale), 0, 255)
    return (np.clip(np.round(x / scale) + zero, 0, 255) - zero) * scale


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-4.0, -1.0), (2.0, 5.0)])
def test_scale_reproduces_the_reference_grid(low, high):
    scale, x = scale_of_range(low, high), np.linspace(low, high, 101).astype(np.float32)
    ours = torch.fake_quantize_per_tensor_affine(
        torch.from_numpy(x), scale.scale, scale.zero_point, 0, 255
    ).numpy()
    np.testing.assert_allclose(ours, reference_uint8(x, low, high), atol=scale.scale * 1.01)
    assert np.abs(ours - x).max() <= scale.scale


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (-4.0, -1.0)])
def test_symmetric_scale_has_no_zero_point_and_reaches_the_larger_end(low, high):
    scale = scale_of_range(low, high, "int8-symmetric")
    assert (scale.zero_point, scale.limits) == (0, (-128, 127))
    assert scale.scale == pytest.approx(max(-low, high) / 127)


def test_zero_is_exactly_representable():
    scale = scale_of_range(-0.37, 1.91)
    assert 0 <= scale.zero_point <= 255


def test_a_range_of_nothing_but_zero_has_a_usable_scale():
    assert scale_of_range(0.0, 0.0).scale == 1.0


def test_infinite_range_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        scale_of_range(0.0, float("inf"))


def test_weights_are_symmetric_per_channel():
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    quantized = quantize_layer(weight)
    scale = np.abs(weight).reshape(4, -1).max(1) / 127
    np.testing.assert_array_equal(
        quantized.weight, np.round(weight / scale[:, None, None, None]).astype(np.int8)
    )
    assert np.abs(quantized.dequantized_weight() - weight).max() <= scale.max() / 2 * 1.001


def test_bias_shares_the_scale_of_input_times_weight():
    weight, bias = np.ones((2, 3), np.float32), np.array([0.5, -1.0], np.float32)
    quantized = quantize_layer(weight, [(bias, 0.02)])
    np.testing.assert_allclose(quantized.bias_scale(0.02), 0.02 / 127, rtol=1e-6)
    np.testing.assert_array_equal(
        quantized.quantized_bias(bias, 0.02), np.rint(bias / quantized.bias_scale(0.02))
    )


def test_bias_of_a_dead_channel_fits_into_int32():
    bias = np.array([5.0], np.float32)
    quantized = quantize_layer(np.full((1, 3), 1e-30, np.float32), [(bias, 0.1)])
    np.testing.assert_allclose(
        quantized.quantized_bias(bias, 0.1) * quantized.bias_scale(0.1), bias, rtol=1e-4
    )


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_few_bits_use_the_whole_range_and_lose_less_than_the_largest_magnitude(bits):
    weight = np.random.default_rng(0).normal(size=(16, 8, 3, 3)).astype(np.float32)
    quantized = quantize_layer(weight, bits=bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    assert quantized.bits == bits and quantized.weight.min() == low and quantized.weight.max() == high
    step = np.abs(weight).reshape(16, -1).max(1).reshape(16, 1, 1, 1) / high
    plain = np.clip(np.round(weight / step), low, high) * step
    assert np.square(quantized.dequantized_weight() - weight).sum() < np.square(plain - weight).sum()


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_integers_of_a_weight_that_lies_on_a_grid_come_back_exactly(bits):
    rng = np.random.default_rng(bits)
    limit = 2 ** (bits - 1)
    integers = rng.integers(-limit + (bits == 8), limit, (16, 72)).astype(np.int8)
    scale = rng.uniform(1e-3, 1, 16).astype(np.float32)
    quantized = quantize_layer(integers * scale[:, None], bits=bits, scale=scale)
    np.testing.assert_array_equal(quantized.weight, integers)
    np.testing.assert_array_equal(quantized.weight_scale, scale)


def test_a_given_scale_grows_where_the_bias_would_not_fit():
    scale, bias = np.full(2, 1e-9, np.float32), np.array([5.0, 0.0], np.float32)
    quantized = quantize_layer(
        np.full((2, 3), 1e-9, np.float32), [(bias, 0.1), (bias, 0.2)], bits=4, scale=scale
    )
    np.testing.assert_allclose(
        quantized.quantized_bias(bias, 0.1) * quantized.bias_scale(0.1), bias, rtol=1e-4
    )
    assert quantized.weight_scale[0] > scale[0] and quantized.weight_scale[1] == scale[1]
    assert quantized.weight.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_calibration_sees_the_smallest_and_largest_value():
    model = tiny_model("mlp")
    folded = fold_batch_norms(trace(model.build(), model.example_inputs()))
    x = torch.linspace(-2, 6, 32).repeat(8, 1)[:, : model.example_inputs()[0].shape[1]]
    first = next(node for node in folded.graph.nodes if node.op == "placeholder")
    observed = observe(folded, [first.name], [(x[:4],), (x[4:],)])[first.name]
    assert (observed.low, observed.high) == pytest.approx((float(x.min()), float(x.max())))
    assert observed.scale().scale == pytest.approx((float(x.max()) - float(x.min())) / 255, rel=0.1)


@pytest.mark.parametrize("activations", ["uint8-asymmetric", "int8-symmetric"])
def test_a_range_with_outliers_is_cut_where_the_error_is_least(activations):
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    values[7] = 7.0
    observed = Observed.of(values)
    whole = scale_of_range(observed.low, observed.high, activations)
    errors = [
        float((one.rounded(values) - values).square().mean()) for one in (observed.scale(activations), whole)
    ]
    assert errors[0] < 0.95 * errors[1]


def test_a_range_without_outliers_reaches_to_its_ends():
    observed = Observed.of(torch.linspace(-1, 3, 4000))
    assert observed.scale() == scale_of_range(-1.0, 3.0)


@pytest.mark.parametrize("name", ["residual", "depthwise", "zero_padded_shortcut", "mlp"])
def test_a_graph_and_its_folded_form_quantize_the_same_tensors(name):
    model = tiny_model(name)
    graph = trace(model.build(), model.example_inputs())
    ends = {norm.name: layer.name for layer, norm in layer_ends(graph).items()}
    layers = {layer for layer, _ in layer_nodes(graph)}
    plans = [plan_quantization(one, layers) for one in (graph, fold_batch_norms(graph))]
    assert {ends.get(one, one) for one in plans[0].tensors} == plans[1].tensors.keys()


def test_plan_quantizes_the_operands_of_a_sum_between_int8_layers():
    model = tiny_model("zero_padded_shortcut")
    folded = fold_batch_norms(trace(model.build(), model.example_inputs()))
    plan = plan_quantization(folded, {name for name, _ in layer_nodes(folded)})
    padded = [node.name for node in folded.graph.nodes if "pad" in node.name]
    assert padded and all(plan.tensors[name] != name for name in padded)


def planned(name, activations):
    model = tiny_model(name)
    folded = fold_batch_norms(trace(model.build(), model.example_inputs()))
    return folded, plan_quantization(folded, {layer for layer, _ in layer_nodes(folded)}, activations)


@pytest.mark.parametrize(("name", "fused"), [("residual", "body.1.0"), ("residual_projection", "body.1.0")])
def test_a_symmetric_sum_has_one_operand_that_is_not_quantized(name, fused):
    folded, plan = planned(name, "int8-symmetric")
    layers = dict(layer_nodes(folded))
    total = next(iter(layers[fused].users))
    assert [node.name for node in total.all_input_nodes if node.name not in plan.tensors] == [
        layers[fused].name
    ]


def test_symmetric_outputs_that_no_int8_layer_reads_are_not_quantized():
    folded, plan = planned("mlp", "int8-symmetric")
    inputs = {node.all_input_nodes[0].name for _, node in layer_nodes(folded)}
    assert set(plan.tensors) == inputs


def test_a_linear_layer_is_quantized_behind_its_relu():
    model = tiny_model("two_inputs")
    folded = fold_batch_norms(trace(model.build(), model.example_inputs()))
    layers = dict(layer_nodes(folded))
    plan = plan_quantization(folded, set(layers))
    assert next(iter(layers["vector"].users)).name in plan.tensors
    assert layers["head"].name not in plan.tensors
