"""Weights of 8 and fewer bits in an ONNX file, and the nodes that expand them when a session loads.

ONNX Runtime and OpenVINO fold nodes with constant inputs before they look for quantized layers: a packed
weight is expanded once, and runs in the same integer kernel as a weight that is stored in int8.

Expanded to float32, 8 and 4 bits pass through int32: an INT8 or INT4 constant that is cast to float32 and
multiplied is what OpenVINO (2026.4) keeps as a compressed weight, and expands in every inference.

4 bits are ONNX's INT4. ONNX has no 3 and 6 bits, and its INT2 needs opset 25, which older runtimes refuse.
Those weights are stored as bit planes: of n bytes in plane p, byte j holds bit p of the weights j, n + j … 7n
+ j, and w = Σ_p c_p · bit_p with c_p = 2^p, and -2^p for the last plane (two's complement).
"""

import ml_dtypes
import numpy as np
from onnx import TensorProto

from ..writer import ModelWriter


def write_integers(
    writer: ModelWriter, name: str, integers: np.ndarray, bits: int, *, to: int = TensorProto.INT8
) -> str:
    """Stores an int8 array under `name` in `bits` bits per element; returns the name of the tensor that a
    session makes of it, of the type `to` (INT8 or FLOAT).
    """
    integers = np.ascontiguousarray(integers)
    if bits not in (4, 8):
        packed = writer.add_initializer(bit_planes(integers, bits), name)
        return _write_unpacking(writer, packed, integers.shape, bits, to)
    stored = writer.add_initializer(integers.astype(ml_dtypes.int4) if bits == 4 else integers, name)
    if to == TensorProto.FLOAT:
        stored = writer.add_node("Cast", [stored], f"{name}0", to=TensorProto.INT32)
    elif bits == 8:
        return stored
    return writer.add_node("Cast", [stored], f"{name}1", to=to)


def bit_planes(integers: np.ndarray, bits: int) -> np.ndarray:
    """The planes of an int8 array of n elements with values of `bits` bits: uint8, ceil(n / 8) × bits."""
    of_elements = (integers.reshape(-1, 1) >> np.arange(bits, dtype=np.int8)) & 1
    padded = np.pad(of_elements, ((0, -len(of_elements) % 8), (0, 0))).reshape(8, -1, bits)
    planes: np.ndarray = np.packbits(padded.astype(np.uint8), axis=0, bitorder="little")[0]
    return planes


def _write_unpacking(writer: ModelWriter, packed: str, shape: tuple[int, ...], bits: int, to: int) -> str:
    """Looks up the bits of each byte in a table, and multiplies the planes by their coefficients.

    BitShift and BitwiseAnd would need no table, but OpenVINO 2026.4 folds neither, and it computes BitShift
    by a division that rounds to nearest (docs/targets/cpus.md).
    """
    coefficients = np.array([*(2**plane for plane in range(bits - 1)), -(2 ** (bits - 1))], np.int8)
    indices = writer.add_node("Cast", [packed], f"{packed}1", to=TensorProto.INT32)
    # 8 × bytes × planes
    of_elements = writer.add_node("Gather", [_table(writer), indices], f"{packed}2", axis=1)
    weighed = [of_elements, writer.constant(coefficients.reshape(bits, 1), "_c")]
    values = writer.add_node("MatMulInteger", weighed, f"{packed}3")  # int32, 8 × bytes × 1
    values = writer.add_node("Cast", [values], f"{packed}4", to=to)
    count = int(np.prod(shape))
    if count % 8:
        values = writer.add_node("Reshape", [values, writer.constant(np.array([-1]), "_c")], f"{packed}5")
        ends = [writer.constant(np.array([end]), "_c") for end in (0, count)]
        values = writer.add_node("Slice", [values, *ends], f"{packed}6")
    whole = writer.constant(np.array(shape, np.int64), "_c")
    return writer.add_node("Reshape", [values, whole], f"{packed}7")


def _table(writer: ModelWriter) -> str:
    """The bits of every byte: uint8, 8 × 256; the first layer that needs the table adds it."""
    name = writer.free_name("_bits")
    if not any(name in node.output for node in writer.model.graph.node):
        range_of = [writer.constant(np.array(value, np.int32), "_c") for value in (0, 256, 1)]
        values = writer.add_node("Range", range_of, f"{name}1")
        powers = writer.constant(2 ** np.arange(8, dtype=np.int32).reshape(8, 1), "_c")
        values = writer.add_node("Div", [values, powers], f"{name}2")
        values = writer.add_node("Mod", [values, writer.constant(np.array(2, np.int32), "_c")], f"{name}3")
        writer.add_node("Cast", [values], name, to=TensorProto.UINT8)
    return name
