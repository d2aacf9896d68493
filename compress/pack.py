"""Weights of fewer than 8 bits in an ONNX file, and the nodes that make int8 of them when a session loads.

ONNX Runtime folds nodes whose inputs are all constants before it looks for quantized layers, so that a packed weight is
expanded once and runs by the same integer kernel as a weight that was stored in int8.

4 bits are ONNX's own INT4. ONNX has no 3 and 6 bits, and its INT2 needs opset 25, which older runtimes refuse; these are
bit planes: byte j of plane p holds bit p of the weights 8j to 8j + 7, and w = Σ_p c_p · bit_p with c_p = 2^p, and -2^p for the last
plane (two's complement).
"""

import ml_dtypes
import numpy as np
from onnx import TensorProto

from .writer import ModelWriter


def write_integers(writer: ModelWriter, name: str, integers: np.ndarray, bits: int) -> str:
    """Stores an int8 array under `name` in `bits` bits per element; returns the int8 tensor that the graph makes of it."""
    integers = np.ascontiguousarray(integers)
    if bits == 8:
        return writer.add_initializer(integers, name)
    if bits == 4:
        packed = writer.add_initializer(integers.astype(ml_dtypes.int4), name)
        return writer.add_node("Cast", [packed], f"{name}1", to=TensorProto.INT8)
    packed = writer.add_initializer(bit_planes(integers, bits), name)
    return _write_unpacking(writer, packed, integers.shape, bits)


def bit_planes(integers: np.ndarray, bits: int) -> np.ndarray:
    """The planes of an int8 array of n elements with values of `bits` bits: uint8, ceil(n / 8) × 1 × bits."""
    of_elements = (integers.reshape(-1, 1) >> np.arange(bits, dtype=np.int8)) & 1
    return np.packbits(of_elements.astype(np.uint8), axis=0, bitorder="little")[:, np.newaxis]


def _write_unpacking(writer: ModelWriter, packed: str, shape: tuple[int, ...], bits: int) -> str:
    """Shifts each byte by 0 to 7, keeps the last bit, and weighs the planes in a product with their coefficients."""
    shifts = writer.constant(np.arange(8, dtype=np.uint8).reshape(8, 1), "_c")
    one = writer.constant(np.array(1, np.uint8), "_c")
    coefficients = np.array([*(2**plane for plane in range(bits - 1)), -(2 ** (bits - 1))], np.int8)
    shifted = writer.add_node("BitShift", [packed, shifts], f"{packed}1", direction="RIGHT")  # bytes × 8 × planes
    of_elements = writer.add_node("BitwiseAnd", [shifted, one], f"{packed}2")
    weighed = [of_elements, writer.constant(coefficients.reshape(bits, 1), "_c")]
    values = writer.add_node("MatMulInteger", weighed, f"{packed}3")  # int32, bytes × 8 × 1
    values = writer.add_node("Cast", [values], f"{packed}4", to=TensorProto.INT8)
    count = int(np.prod(shape))
    if count % 8:
        values = writer.add_node("Reshape", [values, writer.constant(np.array([-1]), "_c")], f"{packed}5")
        ends = [writer.constant(np.array([end]), "_c") for end in (0, count)]
        values = writer.add_node("Slice", [values, *ends], f"{packed}6")
    return writer.add_node("Reshape", [values, writer.constant(np.array(shape, np.int64), "_c")], f"{packed}7")
