"""What a linear layer takes in ONNX Runtime's kernels, as ratios to float32, timed in turns.

    python benchmarks/linear_kernels.py [--core 1] [128x768x3072 …]

Rows are inputs × columns × outputs (rows of inputs, input and output channels), by default those of
docs/compression.md. Kernels: `int8` (static range, as the levels int8 to int2 run), `dynamic8` (the range of
each call), `block4` (4-bit weights, float32 inputs), and two that are no level: MatMulNBits with 4 and 8 bits
that computes in int8 (accuracy level 4). Thread time of one thread, medians of 15 rounds; in brackets the
relative error of the outputs on normal weights and inputs. Takes half a minute.
"""

import argparse
import os
import time
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIZES = ("256x64x192", "197x192x768", "128x768x768", "128x768x3072", "1x768x3072")
ROUNDS, CALLS = 15, 20
BLOCK = 32
Kernel = tuple[list[onnx.NodeProto], Mapping[str, np.ndarray]]


def main() -> None:
    """Prints a row for each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sizes", nargs="*", default=SIZES, metavar="ROWSxINxOUT")
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    for size in arguments.sizes:
        rows, inside, outside = map(int, size.split("x"))
        print(f"{size:14} {measured(rows, inside, outside)}", flush=True)


def measured(rows: int, inside: int, outside: int) -> str:
    """The ratios and errors of all kernels."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((rows, inside)).astype(np.float32)
    weight = (0.1 * draw.standard_normal((inside, outside))).astype(np.float32)
    sessions = {name: session(kernel, x.shape, outside) for name, kernel in kernels(weight, x).items()}
    expected = x @ weight
    errors = {}
    for name, one in sessions.items():
        answer = one.run(None, {"x": x})[0]
        errors[name] = float(np.linalg.norm(answer - expected) / np.linalg.norm(expected))
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, one in sessions.items():
            start = time.thread_time()
            for _ in range(CALLS):
                one.run(None, {"x": x})
            times[name].append((time.thread_time() - start) / CALLS)
    base = float(np.median(times["float32"]))
    ratios = [f"{name} {np.median(times[name]) / base:.2f} ({errors[name]:.3f})" for name in sessions]
    return f"{1e6 * base:.0f} µs; {'; '.join(ratios[1:])}"


def kernels(weight: np.ndarray, x: np.ndarray) -> dict[str, Kernel]:
    """The nodes and constants of each kernel, for y = x · weight."""
    steps = np.abs(weight).max(0) / 127
    integers = np.round(weight / steps).astype(np.int8)
    low, high = float(x.min()), float(x.max())
    scale = np.float32((high - low) / 255)
    static = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["values"]),
        helper.make_node("DequantizeLinear", ["integers", "steps"], ["weights"], axis=1),
        helper.make_node("MatMul", ["values", "weights"], ["y"]),
    ]
    dynamic = helper.make_node(
        "DynamicQuantizeMatMul", ["x", "integers", "steps"], ["y"], domain="com.microsoft"
    )
    grid = {"integers": integers, "steps": steps}
    return {
        "float32": ([helper.make_node("MatMul", ["x", "weight"], ["y"])], {"weight": weight}),
        "int8": (static, {**grid, "scale": scale, "zero": np.uint8(round(-low / scale))}),
        "dynamic8": ([dynamic], grid),
        "block4": blocks(weight, bits=4, level=0),
        "4 bits in int8": blocks(weight, bits=4, level=4),
        "8 bits in int8": blocks(weight, bits=8, level=4),
    }


def blocks(weight: np.ndarray, *, bits: int, level: int) -> Kernel:
    """MatMulNBits with an accuracy level."""
    inside, outside = weight.shape
    parts = weight.T.reshape(outside, inside // BLOCK, BLOCK)
    scales = np.abs(parts).max(-1) / (2 ** (bits - 1) - 1)
    integers = (np.round(parts / scales[..., None]) + 2 ** (bits - 1)).astype(np.uint8)
    if bits == 4:
        integers = integers[..., 0::2] | (integers[..., 1::2] << 4)
    node = helper.make_node(
        "MatMulNBits", ["x", "integers", "scales"], ["y"], domain="com.microsoft",
        K=inside, N=outside, bits=bits, block_size=BLOCK, accuracy_level=level,
    )  # fmt: skip
    return [node], {"integers": integers, "scales": scales.reshape(-1)}


def session(kernel: Kernel, shape: tuple[int, ...], outside: int) -> onnxruntime.InferenceSession:
    """A session of one thread."""
    nodes, constants = kernel
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], outside])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph(nodes, "linear", [x], [y], stored), opset_imports=opsets, ir_version=10
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


if __name__ == "__main__":
    main()
