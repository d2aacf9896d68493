"""Whether an ONNX file is whole and has all of its weights, from its bytes: nothing of it is built in memory.

The file is protocol buffers. Only what leads to stored tensors is walked, as the file lies on the disk: the
memory does not grow with the file, and the number of fields is bounded.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import InputError

LARGEST_BYTES = (1 << 31) - 1  # protobuf's, for one message
_MOST_FIELDS = 4_000_000  # a network of 200,000 operators; some seconds
_MOST_DEPTH = 64  # of graphs inside nodes
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_VERSION, _GRAPH, _OPERATORS, _NODE = 1, 7, 8, 1
_ELSEWHERE, _LOCATION = 13, 14  # of a tensor

# The messages that lead from a model to its tensors, by the numbers of their fields in onnx.proto.
INSIDE: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}


def require_onnx(path: Path) -> None:
    """InputError for a file that is no whole model of ONNX, that keeps weights in other files, or that has
    too many parts to be looked at.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError("it has more than 2 GB")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _require_model(data)
    except ValueError as error:
        raise InputError(f"What arrived is no whole file of ONNX ({error}).") from error


def _require_model(data: mmap.mmap) -> None:
    """Walks the model to its last byte. ValueError for what is damaged."""
    present, nodes, count = set[int](), 0, 0
    waiting = [("ModelProto", 0, len(data), 0)]
    while waiting:
        message, start, end, depth = waiting.pop()
        if depth > _MOST_DEPTH:
            raise ValueError("its graphs are nested too deeply")
        inside = INSIDE[message]
        for number, kind, value, begin, stop in _fields(data, start, end):
            count += 1
            if count > _MOST_FIELDS:
                raise ValueError(f"it has more than {_MOST_FIELDS} parts")
            if message == "TensorProto" and (number == _ELSEWHERE or (number == _LOCATION and value)):
                raise InputError(
                    "What arrived keeps weights in another file: save the model as one file "
                    "(onnx.save with save_as_external_data=False)."
                )
            if message == "ModelProto":
                present.add(number)
            nodes += message == "GraphProto" and number == _NODE
            if number in inside:
                if kind != _BYTES:
                    raise ValueError(f"the part {number} of {message} is of another kind")
                waiting.append((inside[number], begin, stop, depth + 1))
    if not {_VERSION, _GRAPH, _OPERATORS} <= present or not nodes:
        raise ValueError("it has no graph with operators, or does not say its version")


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The fields of a message: number, kind, value of a number, where the bytes begin and end."""
    while start < end:
        tag, start = _varint(data, start, end)
        number, kind, value = tag >> 3, tag & 7, 0
        if not number or tag >> 32:
            raise ValueError("it has bytes that are no part of a model")
        if kind == _VARINT:
            value, start = _varint(data, start, end)
            stop = start
        elif kind == _BYTES:
            size, start = _varint(data, start, end)
            stop = start + size
        elif kind in (_EIGHT, _FOUR):
            stop = start + (8 if kind == _EIGHT else 4)
        else:
            raise ValueError("it has bytes that are no part of a model")
        if stop > end:
            raise ValueError("it ends too early")
        yield number, kind, value, start, stop
        start = stop


def _varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while start < end and shift < 70:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise ValueError("it ends too early")
