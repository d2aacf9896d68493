"""Reading what a .tflite file takes, gives and holds. It may be a stranger's."""

import struct
from pathlib import Path
from typing import Any

from .flat import IDENTIFIER, schema

Tensor = tuple[str, tuple[int | str, ...], str]  # name, shape with names of free dimensions, NumPy's type
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 9: "int8"}
_DAMAGE = (struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError, MemoryError)


def is_litert(path: Path) -> bool:
    """Whether the file says that it is a .tflite file."""
    with path.open("rb") as file:
        return file.read(8)[4:] == IDENTIFIER


def litert_signature(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The inputs and outputs of a .tflite file; a free dimension 0 is called `batch`, others `dynamic`.
    ValueError when it cannot be read, InputError without the schema.
    """
    tables = schema()
    try:
        graph = tables.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0)
        inputs = tuple(_tensor(graph.Tensors(graph.Inputs(at))) for at in range(graph.InputsLength()))
        outputs = tuple(_tensor(graph.Tensors(graph.Outputs(at))) for at in range(graph.OutputsLength()))
    except _DAMAGE as error:
        raise ValueError(f"it is no .tflite file, or a damaged one: {error}") from error
    return inputs, outputs


def litert_constants(model: bytes) -> list[tuple[int, bytes]]:
    """The values that a .tflite file holds, each once, with the schema's number of their type."""
    found = schema().Model.GetRootAs(model, 0)
    graph, kinds = found.Subgraphs(0), dict[int, int]()
    for at in range(graph.TensorsLength()):
        kinds.setdefault(graph.Tensors(at).Buffer(), graph.Tensors(at).Type())
    buffers = [(kind, found.Buffers(number)) for number, kind in sorted(kinds.items())]
    return [(kind, buffer.DataAsNumpy().tobytes()) for kind, buffer in buffers if buffer.DataLength()]


def _tensor(found: Any) -> Tensor:
    name, kind = found.Name(), found.Type()
    return (
        name.decode("utf-8") if name else "",
        tuple(_size(found, dim) for dim in range(found.ShapeLength())),
        _TYPES.get(kind, f"type {kind}"),
    )


def _size(found: Any, dim: int) -> int | str:
    size = found.ShapeSignature(dim) if found.ShapeSignatureLength() else found.Shape(dim)
    free = "dynamic" if dim else "batch"
    return free if size < 0 else int(size)
