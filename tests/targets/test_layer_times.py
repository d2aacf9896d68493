"""The profiler's kernel times by layer: in float32 and int8, with activations fused, whatever the runtime
calls its kernels.
"""

from pathlib import Path

import numpy as np
import onnx
import pytest
from autocompress.profiles import load_profile
from autocompress.targets.layer_times import layer_times
from autocompress.targets.on_device.runtimes.onnxruntime_cpu.graph import seconds_by_node
from autocompress.targets.target import Target
from autocompress.tests.targets import models
from onnx import helper

pytestmark = pytest.mark.usefixtures("quiet_machine")


def named(path: Path) -> list[str]:
    """Names each computing node of the file after its layer, as the project's artifacts do; the layers."""
    model = onnx.load(path)
    for node in model.graph.node:
        weight = next((name for name in node.input if ".weight" in name), None)
        node.name = weight.partition(".weight")[0] if weight and node.op_type in ("Conv", "MatMul") else ""
    onnx.save(model, path)
    return [node.name for node in model.graph.node if node.name]


@pytest.mark.parametrize("precisions", ["ff", "qq", "qfq"])
def test_every_layer_has_a_time_and_the_rest_too(tmp_path: Path, precisions: str) -> None:
    path = models.quantized_chain(tmp_path / "m.onnx", precisions=precisions)
    layers = named(path)
    with Target(load_profile("cpu")).session() as session:
        times = session.profile_layers(path, layers, batch=1)
    assert list(times.layers) == layers == [f"block.{index}.conv" for index in range(len(precisions))]
    assert all(0 < seconds < 1 for seconds in times.layers.values()) and times.other_s > 0


def test_a_layer_that_computes_more_takes_longer(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {
        f"{name}.weight": rng.standard_normal((width, 8)).astype(np.float32)
        for name, width in (("small", 8), ("big", 8))
    }
    weights["big.weight"] = rng.standard_normal((8, 4096)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "small.weight"], ["t"]),
        helper.make_node("MatMul", ["t", "big.weight"], ["y"]),
    ]
    path = models.save(tmp_path / "m.onnx", nodes, inputs={"x": ["batch", 8]}, weights=weights)
    layers = named(path)
    with Target(load_profile("cpu")).session() as session:
        times = [
            session.profile_layers(path, layers, batch=64) for _ in range(3)
        ]  # another program may stand in one layer's way
    big, small = (min(seen.layers[name] for seen in times) for name in ("big", "small"))
    assert big > 5 * small > 0 and times[0].other_s == 0


def test_kernels_are_recognized_by_the_names_that_the_runtime_makes() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["_0"], name="conv"),
        helper.make_node("Relu", ["_0"], ["_1"]),
        helper.make_node("Add", ["_1", "x"], ["_2"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    kernels = {
        **{"_1_nchwc": 1.0, "conv_token_7": 2.0, "fused conv": 4.0, "fc/MatMulAddFusion": 8.0, "fc_2": 16.0},
        **{"conv1": 32.0, "_2_nchwc": 64.0, "ReorderOutput": 128.0},
    }
    times = layer_times(seconds_by_node(kernels, model), ["conv", "fc", "fc_2", "gone"])
    assert times.layers == {"conv": 7.0, "fc": 8.0, "fc_2": 16.0} and times.other_s == 224.0
