"""Block-wise 4-bit weights: the grid, and what ONNX Runtime's kernel makes of the packed bytes."""

import numpy as np
import onnxruntime
import pytest
from autocompress.compress.levels.value_grids import quantize_blocks
from autocompress.compress.onnx_file.encoding.block4 import write_blocks
from autocompress.compress.onnx_file.export import Template
from autocompress.compress.onnx_file.locate import Stored
from autocompress.errors import StageError
from onnx import TensorProto, helper, numpy_helper


def random_weight(rows=24, columns=64):
    return np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)


def test_every_weight_is_within_a_step_of_its_value():
    weight = random_weight()
    blocks = quantize_blocks(weight)
    step = np.repeat(np.abs(blocks.scales.astype(np.float32)), 32, axis=1)
    error = np.abs(blocks.dequantized() - weight)
    assert (error <= step * 3).all() and (error <= step * 0.51).mean() > 0.98


def test_searched_scales_lose_less_than_the_largest_magnitude():
    weight = random_weight()
    step = np.abs(weight.reshape(24, 2, 32)).max(-1, keepdims=True) / 7
    plain = (np.clip(np.rint(weight.reshape(24, 2, 32) / step), -8, 7) * step).reshape(weight.shape)
    error = np.square(quantize_blocks(weight).dequantized() - weight).sum()
    assert error < 0.9 * np.square(plain - weight).sum()


@pytest.mark.parametrize("factor", [1.0, 1e-5, 1e-9], ids=["usual", "subnormal scales", "nothing left"])
def test_a_rounded_weight_gives_the_same_blocks_again(factor):
    once = quantize_blocks(random_weight() * np.float32(factor))
    again = quantize_blocks(once.dequantized())
    np.testing.assert_array_equal(once.dequantized(), again.dequantized())
    if factor == 1.0:
        np.testing.assert_array_equal(once.packed, again.packed)
        np.testing.assert_array_equal(once.scales, again.scales)


def test_a_weight_beyond_float16_is_refused():
    with pytest.raises(ValueError, match="keep the layer in float32"):
        quantize_blocks(random_weight() * np.float32(1e6))


def multiplication(op_type, weight, **attributes):
    """x · weight (+ bias) for the last dimension of x."""
    inputs = ["x", "w"] + (["b"] if op_type == "Gemm" else [])
    stored = [
        numpy_helper.from_array(np.ascontiguousarray(weight), "w"),
        numpy_helper.from_array(np.ones(24, np.float32), "b"),
    ]
    leading = ["n"] if op_type == "Gemm" else ["n", "t"]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [*leading, size])
        for name, size in (("x", 40), ("y", 24))
    ]
    graph = helper.make_graph(
        [helper.make_node(op_type, inputs, ["y"], **attributes)], "g", values[:1], values[1:], stored
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def template_of(model):
    return Template(
        model=model, parameters={"fc.weight": Stored(initializer="w", transposed=True)}, values={}
    )


@pytest.mark.parametrize(("op_type", "shape"), [("MatMul", (2, 3, 40)), ("Gemm", (5, 40))])
def test_the_kernel_multiplies_with_the_dequantized_weight(op_type, shape):
    blocks = quantize_blocks(random_weight(columns=40))
    model = multiplication(op_type, random_weight(columns=40).T)
    write_blocks(model, template_of(model), {"fc": ("fc.weight", blocks)})
    assert {t.name for t in model.graph.initializer if t.data_type == TensorProto.UINT8} == {"fc.weight_q"}
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    answer = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    assert [node.op_type for node in model.graph.node] == ["Cast", "MatMulNBits"]
    np.testing.assert_allclose(answer, x @ blocks.dequantized().T + (op_type == "Gemm"), rtol=1e-4, atol=1e-4)


def test_a_product_that_is_scaled_is_refused():
    model = multiplication("Gemm", random_weight(columns=40).T, alpha=0.5)
    with pytest.raises(StageError, match="no block4"):
        write_blocks(
            model, template_of(model), {"fc": ("fc.weight", quantize_blocks(random_weight(columns=40)))}
        )
