"""Small ONNX files that behave in a known way, built without torch, in an opset that every runtime reads,
TensorRT 8 too.
"""

from pathlib import Path

import numpy as np
import onnx
from autocompress.profiles import TimingConfig
from onnx import TensorProto, helper, numpy_helper

QUICK = TimingConfig(pairs_min=2, pairs_max=2, pair_s=0.02, block_s=0.001, warmup_s=0.0, half_width=1.0)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    inputs: dict[str, list[int | str]],
    weights: dict[str, np.ndarray] | None = None,
    dtype: int = FLOAT,
    opset: int = 17,
) -> Path:
    """Writes a checked model with the output `y`, of the first input's rank."""
    rank = len(next(iter(inputs.values())))
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", dtype, [f"y{index}" for index in range(rank)])],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset <= 17 else 10
    )
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def linear(path: Path, *, batch: int | str = "batch", width: int = 8, scale: float = 1.0) -> Path:
    """y = scale · x, as a matrix product with `width` features."""
    weight = np.eye(width, dtype=np.float32) * scale
    node = helper.make_node("MatMul", ["x", "fc.weight"], ["y"])
    return save(path, [node], inputs={"x": [batch, width]}, weights={"fc.weight": weight})


def chain(path: Path, *, layers: int) -> Path:
    """`layers` convolutions of 16 to 16 channels: its time is proportional to `layers`."""
    weight = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32) / 12
    names = ["x", *(f"t{index}" for index in range(1, layers)), "y"]
    nodes = [
        helper.make_node("Conv", [names[index], f"conv{index}.weight"], [names[index + 1]], pads=[1, 1, 1, 1])
        for index in range(layers)
    ]
    weights = {f"conv{index}.weight": weight for index in range(layers)}
    return save(path, nodes, inputs={"x": ["batch", 16, 16, 16]}, weights=weights)


def hungry(path: Path, *, size_bytes: int) -> Path:
    """A model whose output is `size_bytes` of zeros; its only input is a shape-less scalar that is
    ignored.
    """
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("Add", ["big", "x"], ["y"]),
    ]
    return save(
        path, nodes, inputs={"x": ["batch"]}, weights={"shape": np.array([size_bytes // 4], dtype=np.int64)}
    )


def logarithm(path: Path) -> Path:
    """y = log x: NaN for a negative input."""
    return save(path, [helper.make_node("Log", ["x"], ["y"])], inputs={"x": ["batch", 4]})


def samples(path: Path, *arrays: np.ndarray) -> Path:
    """Input arrays as the worker reads them."""
    np.savez(path, **{str(index): array for index, array in enumerate(arrays)})  # type: ignore[arg-type]
    return path


def quantized_chain(path: Path, *, precisions: str) -> Path:
    """Convolutions in a row, one per letter: `q` has quantized weights and activations, `f` is float32.

    Written in the convention of the project's artifacts: `<layer>.weight_q` through DequantizeLinear, biases
    in int32.
    """
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    scale = np.array(0.05, dtype=np.float32)
    weights: dict[str, np.ndarray] = {
        "s": scale,
        "z128": np.array(128, dtype=np.uint8),
        "z0": np.array(0, dtype=np.uint8),
    }

    def through_uint8(name: str) -> str:
        """Q → DQ on an activation; the zero point 0 behind a ReLU lets the runtime fuse it."""
        zero = "z128" if name == "x" else "z0"
        nodes.append(helper.make_node("QuantizeLinear", [name, "s", zero], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", "s", zero], [f"{name}_dq"]))
        return f"{name}_dq"

    current = "x"
    for index, letter in enumerate(precisions):
        layer, output = f"block.{index}.conv", f"t{index}"
        values = rng.standard_normal((16, 16, 3, 3)).astype(np.float32) / 12
        bias = np.zeros(16, dtype=np.float32)
        if letter == "q":
            current = through_uint8(current) if not current.endswith("_dq") else current
            steps = np.full(16, 0.01, dtype=np.float32)
            weights[f"{layer}.weight_q"] = np.clip(np.rint(values / 0.01), -127, 127).astype(np.int8)
            weights[f"{layer}.weight_scale"] = steps
            weights[f"{layer}.weight_zero"] = np.zeros(16, dtype=np.int8)
            weights[f"{layer}.bias_q"] = bias.astype(np.int32)
            weights[f"{layer}.bias_scale"] = steps * scale
            of_weight = [f"{layer}.weight_q", f"{layer}.weight_scale", f"{layer}.weight_zero"]
            nodes.append(helper.make_node("DequantizeLinear", of_weight, [f"{layer}.weight_dq"], axis=0))
            of_bias = [f"{layer}.bias_q", f"{layer}.bias_scale"]
            nodes.append(helper.make_node("DequantizeLinear", of_bias, [f"{layer}.bias_dq"], axis=0))
            names = [current, f"{layer}.weight_dq", f"{layer}.bias_dq"]
        else:
            weights |= {f"{layer}.weight": values, f"{layer}.bias": bias}
            names = [current, f"{layer}.weight", f"{layer}.bias"]
        nodes.append(helper.make_node("Conv", names, [f"{output}_raw"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"{output}_raw"], [output]))
        # The input of a float layer is quantized as well: that tempts the runtime to quantize the layer too.
        current = through_uint8(output)
    nodes.append(helper.make_node("Identity", [current], ["y"]))
    return save(path, nodes, inputs={"x": ["batch", 16, 16, 16]}, weights=weights)


def mixed_precisions(path: Path) -> Path:
    """Convolutions `q` (int8), `h` (float16 between casts) and `f` (float32), in the convention of
    TensorRT.
    """
    weight = np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)
    weights = {
        **{"s": np.array(0.05, np.float32), "z": np.array(0, np.int8)},
        **{"steps": np.full(4, 0.02, np.float32), "zeros": np.zeros(4, np.int8)},
        **{
            "q.weight_f": np.clip(np.rint(weight / 0.02), -127, 127) * np.float32(0.02),
            "h.weight": weight.astype(np.float16),
        },
        **{"f.weight": weight},
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["a", "s", "z"], ["b"]),
        helper.make_node("QuantizeLinear", ["q.weight_f", "steps", "zeros"], ["q.weight_q"], axis=0),
        helper.make_node("DequantizeLinear", ["q.weight_q", "steps", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["b", "w"], ["c"], name="q"),
        helper.make_node("Relu", ["c"], ["d"], name="relu"),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["e", "h.weight"], ["g"], name="h"),
        helper.make_node("Cast", ["g"], ["i"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["i", "f.weight"], ["y"], name="f"),
    ]
    return save(path, nodes, inputs={"x": ["batch", 4, 6, 6]}, weights=weights)
