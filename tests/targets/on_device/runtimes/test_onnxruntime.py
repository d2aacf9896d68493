"""The precision that really runs is read from the runtime's own graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from autocompress.profiles import load_profile
from autocompress.targets.on_device.runtimes.onnxruntime_cpu.graph import executed_precision
from autocompress.targets.target import Target
from autocompress.tests.targets import models
from onnx import helper, numpy_helper


def executed(path: Path, precisions: str, *, profile: str = "cpu") -> str:
    """One letter per layer of `quantized_chain`, as executed; `?` for a layer whose weight the runtime
    replaced.
    """
    layers = [f"block.{index}.conv" for index in range(len(precisions))]
    with Target(load_profile(profile)).session() as session:
        found = session.executed_precision(path, layers)
    return "".join({"int8": "q", "float32": "f", None: "?"}[found.get(layer)] for layer in layers)


@pytest.mark.parametrize("precisions", ["fff", "qqq", "fqf", "qfq", "qqff"])
def test_layers_run_in_the_precision_that_the_file_stores(tmp_path: Path, precisions: str) -> None:
    model = models.quantized_chain(tmp_path / "m.onnx", precisions=precisions)
    assert executed(model, precisions) == precisions


def test_without_the_profiles_option_a_float_layer_between_quantized_ones_is_replaced_silently(
    tmp_path: Path,
) -> None:
    (tmp_path / "naive.toml").write_text(
        'inherits = "cpu"\n[runtime_options]\n'
        '"optimization.disable_specified_optimizers" = "NoSuchOptimizer"\n'
    )
    model = models.quantized_chain(tmp_path / "m.onnx", precisions="qfq")
    assert executed(model, "qfq", profile=str(tmp_path / "naive.toml")) == "q?q"


def graph(nodes: list[onnx.NodeProto], *initializers: str) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.zeros(1, dtype=np.float32), name) for name in initializers]
    return helper.make_model(helper.make_graph(nodes, "g", [], [], tensors))


DEQUANTIZED = [
    helper.make_node("DequantizeLinear", ["fc.weight_q", "s"], ["_1"]),
    helper.make_node("MatMul", ["x", "_1"], ["y"]),
]


def test_a_weight_that_is_merely_stored_in_int8_runs_in_float32() -> None:
    original = graph(DEQUANTIZED, "fc.weight_q")
    assert executed_precision(original, ["fc"], original=original) == {"fc": "float32"}


def test_a_weight_that_the_runtime_folds_to_float_is_found_under_its_new_name() -> None:
    folded = graph([helper.make_node("Gemm", ["x", "_1"], ["y"])], "_1")
    assert executed_precision(folded, ["fc"], original=graph(DEQUANTIZED, "fc.weight_q")) == {"fc": "float32"}


def test_a_packed_weight_is_followed_through_its_unpacking() -> None:
    unpack = [
        helper.make_node("Gather", ["c", "fc.weight_q"], ["_1"], axis=1),
        helper.make_node("MatMulInteger", ["_1", "c"], ["_2"]),
        helper.make_node("Cast", ["_2"], ["_3"], to=onnx.TensorProto.INT8),
    ]
    original = graph([*unpack, helper.make_node("QGemm", ["x", "_3"], ["y"])], "fc.weight_q", "c")
    folded = graph([helper.make_node("QGemm", ["x", "_3"], ["y"])], "_3")
    in_float = graph([*unpack, helper.make_node("Gemm", ["x", "_3"], ["y"])], "fc.weight_q", "c")
    assert executed_precision(original, ["fc"], original=original) == {"fc": "int8"}
    assert executed_precision(folded, ["fc"], original=original) == {"fc": "int8"}
    assert executed_precision(in_float, ["fc"], original=in_float) == {"fc": "float32"}


@pytest.mark.parametrize(("bits", "precision"), [(4, "block4"), (8, "float32")])
def test_only_blocks_of_4_bits_are_block4(bits: int, precision: str) -> None:
    node = helper.make_node(
        "MatMulNBits", ["x", "fc.weight_q", "s"], ["y"], domain="com.microsoft", bits=bits
    )
    seen = graph([node], "fc.weight_q")
    assert executed_precision(seen, ["fc"], original=seen) == {"fc": precision}


def test_the_real_runtime_runs_a_layer_without_quantized_activations_in_float32(tmp_path: Path) -> None:
    weights: dict[str, np.ndarray] = {
        "fc.weight_q": np.eye(8, dtype=np.int8),
        "fc.weight_scale": np.array(0.5, dtype=np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["fc.weight_q", "fc.weight_scale"], ["_1"]),
        helper.make_node("MatMul", ["x", "_1"], ["y"]),
    ]
    model = models.save(tmp_path / "m.onnx", nodes, inputs={"x": ["batch", 8]}, weights=weights)
    with Target(load_profile("cpu")).session() as session:
        assert session.executed_precision(model, ["fc"]) == {"fc": "float32"}


def test_a_weight_used_twice_is_int8_only_if_both_uses_are() -> None:
    nodes = [
        helper.make_node("QGemm", ["x", "fc.weight_q"], ["y"]),
        helper.make_node("Gemm", ["x", "fc.weight_q"], ["z"]),
    ]
    both, one = graph(nodes, "fc.weight_q"), graph(nodes[:1], "fc.weight_q")
    assert executed_precision(both, ["fc"], original=both) == {"fc": "float32"}
    assert executed_precision(one, ["fc"], original=one) == {"fc": "int8"}


def test_a_layer_that_the_runtime_removed_is_left_out() -> None:
    seen = graph([helper.make_node("Gemm", ["x", "conv1.weight"], ["y"])], "conv1.weight")
    assert executed_precision(seen, ["conv1", "conv10", "conv"], original=seen) == {"conv1": "float32"}
