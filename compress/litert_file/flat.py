"""FlatModel: the tables of a .tflite file, in the flatbuffer schema of TensorFlow Lite.

The schema's classes come with LiteRT (`ai_edge_litert.schema_py_generated`). Buffers are aligned to 16 bytes,
as the schema demands (`force_align`), so that a runtime may map the file into memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from ...errors import InputError

IDENTIFIER = b"TFL3"
ALIGNMENT = 16
NOTHING = -1  # the place of an optional tensor that an operator does not get
_DTYPES = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "int64": "INT64",
    "int32": "INT32",
    "int8": "INT8",
    "int4": "INT4",
    "uint8": "UINT8",
    "bool": "BOOL",
}
# What an operator's version says to a runtime: that it needs kernels for these tensors.
_INT8_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "DEQUANTIZE": 2}
_INT8_VERSION = 2  # of most others
_ALWAYS_FIRST = ("RESHAPE", "QUANTIZE")


@cache
def schema() -> ModuleType:
    """The classes of the schema. InputError says what installs them."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise InputError(
            "A target with LiteRT needs its schema on this machine: pip install 'autocompress[litert]' "
            "(ai-edge-litert)."
        ) from error
    module: ModuleType = schema_py_generated
    return module


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Affine quantization of a tensor: x ≈ scale · (q - zero_point), q in -128..127; `scale` has one entry,
    or one for each index of dimension `axis`.
    """

    scale: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0


class FlatModel:
    """Collects tensors and operators; `to_bytes` is the file. Tensors are named by their number."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._facts: list[tuple[tuple[int | None, ...], str, Grid | None]] = []
        self._operators: list[Any] = []
        self._buffers: list[Any] = [schema().BufferT()]  # the first is empty by definition
        self._stored: dict[bytes, int] = {}
        self._zero_points: dict[bytes, int] = {}
        self._codes: dict[tuple[str, int], int] = {}

    def tensor(
        self, shape: Sequence[int | None], dtype: str, *, name: str = "", grid: Grid | None = None
    ) -> int:
        """Adds a tensor that an operator writes, or an input; None: a size that is known when it runs."""
        return self._add(shape, dtype, 0, name, grid)

    def constant(self, array: np.ndarray, *, grid: Grid | None = None) -> int:
        """Adds a tensor with these values, integers of 4 bits two to a byte."""
        array = np.ascontiguousarray(array)
        data = _packed(array) if array.dtype == ml_dtypes.int4 else array.tobytes()
        if data not in self._stored:
            self._stored[data] = len(self._buffers)
            self._buffers.append(_aligned_buffer(data))
        return self._add(array.shape, array.dtype.name, self._stored[data], "", grid)

    def signature(self, tensor: int) -> tuple[int | None, ...]:
        """A tensor's shape, with None for a size that is only known when it runs."""
        return self._facts[tensor][0]

    def set_name(self, tensor: int, name: str) -> None:
        """Names a tensor; those without a name have an empty one."""
        self._tensors[tensor].name = name or None

    def like(self, tensor: int, shape: Sequence[int | None]) -> int:
        """Adds a tensor of the type and grid of another one."""
        _, dtype, grid = self._facts[tensor]
        return self.tensor(shape, dtype, grid=grid)

    def number_like(self, tensor: int, value: float) -> int:
        """A constant of one number in the type and grid of a tensor, the nearest that they have."""
        _, dtype, grid = self._facts[tensor]
        if grid is None:
            least = np.finfo(np.float32).min
            return self.constant(np.array(max(value, least), dtype))
        limits = np.iinfo(np.int8)
        integer = np.clip(value / grid.scale[0] + grid.zero_point, limits.min, limits.max)
        return self.constant(np.array(round(integer), np.int8), grid=grid)

    def operator(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        options: str = "",
        **values: Any,
    ) -> None:
        """Adds an operator; `options` is the schema's table of options, `values` its entries."""
        tables, made = schema(), schema().OperatorT()
        made.opcodeIndex = self._code(kind, self._version(kind, inputs))
        made.inputs, made.outputs = list(inputs), list(outputs)
        if options:
            made.builtinOptionsType = getattr(tables.BuiltinOptions, options)
            made.builtinOptions = getattr(tables, f"{options}T")()
            for key, value in values.items():
                setattr(made.builtinOptions, key, value)
        self._operators.append(made)

    def to_bytes(self, inputs: Sequence[int], outputs: Sequence[int], *, description: str) -> bytes:
        """The file, with these inputs and outputs."""
        import flatbuffers  # comes with LiteRT, as the schema does

        tables = schema()
        graph, model = tables.SubGraphT(), tables.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model.version, model.description = 3, description
        model.operatorCodes = [_operator_code(kind, version) for kind, version in self._codes]
        model.subgraphs, model.buffers = [graph], self._buffers
        self._zero_points.clear()
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _add(self, shape: Sequence[int | None], dtype: str, buffer: int, name: str, grid: Grid | None) -> int:
        made = schema().TensorT()
        made.shape = [1 if size is None else size for size in shape]
        if None in shape:
            made.shapeSignature = [-1 if size is None else size for size in shape]
        made.type = getattr(schema().TensorType, _DTYPES[dtype])
        made.buffer, made.name = buffer, name or None
        if grid is not None:
            made.quantization = _quantization(grid, self._zero_points)
        self._tensors.append(made)
        self._facts.append((tuple(shape), dtype, grid))
        return len(self._tensors) - 1

    def _version(self, kind: str, inputs: Sequence[int]) -> int:
        types = {self._tensors[index].type for index in inputs if index != NOTHING}
        if schema().TensorType.INT8 not in types or kind in _ALWAYS_FIRST:
            return 1
        return _INT8_VERSIONS.get(kind, _INT8_VERSION)

    def _code(self, kind: str, version: int) -> int:
        return self._codes.setdefault((kind, version), len(self._codes))


def _packed(array: np.ndarray) -> bytes:
    """Integers of 4 bits, the first in the low half of a byte."""
    nibbles = array.astype(np.int8).ravel().view(np.uint8) & 15
    padded = np.pad(nibbles, (0, len(nibbles) % 2))
    packed = padded[::2] | (padded[1::2] << 4)
    return bytes(packed.astype(np.uint8).tobytes())


def _aligned_buffer(data: bytes) -> Any:
    """A buffer that begins at a multiple of ALIGNMENT in the file, which is written from its end."""

    class Aligned(schema().BufferT):  # type: ignore[misc] # the schema has no types
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
            builder.Prep(ALIGNMENT, len(self.data))
            return super().Pack(builder)

    made = Aligned()
    made.data = np.frombuffer(data, np.uint8)
    return made


def _quantization(grid: Grid, shared: dict[bytes, int]) -> Any:
    """The table of a grid. LiteRT demands a zero point of 8 bytes for each step: equal ones are stored once,
    at the place that `shared` has.
    """
    tables = schema()

    class Shared(schema().QuantizationParametersT):  # type: ignore[misc] # the schema has no types
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
            key = self.zeroPoint.tobytes()
            if key not in shared:
                shared[key] = builder.CreateNumpyVector(self.zeroPoint)
            steps = builder.CreateNumpyVector(self.scale)
            tables.QuantizationParametersStart(builder)
            tables.QuantizationParametersAddScale(builder, steps)
            tables.QuantizationParametersAddZeroPoint(builder, shared[key])
            tables.QuantizationParametersAddQuantizedDimension(builder, self.quantizedDimension)
            return tables.QuantizationParametersEnd(builder)

    made = Shared()
    made.scale = np.array(grid.scale, np.float32)
    made.zeroPoint = np.full(len(grid.scale), grid.zero_point, np.int64)
    made.quantizedDimension = grid.axis
    return made


def _operator_code(kind: str, version: int) -> Any:
    made = schema().OperatorCodeT()
    made.builtinCode = getattr(schema().BuiltinOperator, kind)
    made.deprecatedBuiltinCode = min(made.builtinCode, 127)
    made.version = version
    return made
