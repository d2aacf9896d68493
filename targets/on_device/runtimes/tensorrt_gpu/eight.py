"""What TensorRT 8 (JetPack 5 and 6.0) reads otherwise than later ones, and what a target's TOML file must say
for it.

It lists opset 17, but its parser refuses no later file: it reads some operators of them wrongly, without an
error (compress/onnx_file/opset.py has the source). It wants int8 weights in float32 behind a pair.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

OPSET = 17
_OPSET_IMPORT = 8  # field of ONNX's ModelProto
_DOMAIN, _VERSION = 1, 2  # of its OperatorSetIdProto


def lines_for(version: str) -> str | None:
    """What a profile must say for this TensorRT (`8.5.2`, and what follows a blank), as TOML; None for
    another than 8.

    8.5 has no LayerNormalization, which is new in opset 17.
    """
    if not version.startswith("8."):
        return None
    minor = int(version.split(".")[1])
    return f'opset = {OPSET if minor >= 6 else OPSET - 1} and int8_weights = "float32"'


def why_unreadable(version: str, model: str) -> str | None:
    """Why this TensorRT must not be given an ONNX file, in one sentence with the remedy; None when it may."""
    lines = lines_for(version)
    opset = None if lines is None else opset_of(model)
    if opset is None or opset <= OPSET:
        return None
    return (
        f"TensorRT {version} reads ONNX up to opset {OPSET}, and some operators of later files wrongly; this "
        f"file has opset {opset}: set {lines} in the target's TOML file (a file from elsewhere: export it in "
        f"opset {OPSET})"
    )


def opset_of(path: str) -> int | None:
    """The opset of the standard operators that an ONNX file says, read without loading it; None if it is no
    such file.
    """
    try:
        with Path(path).open("rb") as file:
            return _read_opset(file)
    except (OSError, ValueError, OverflowError, MemoryError):  # the latter two: a length that no file has
        return None


def _read_opset(file: BinaryIO) -> int | None:
    """ValueError for what is no protocol buffer."""
    while True:
        first = file.read(1)
        if not first:
            return None
        key = _number(file, first)
        if key & 7 == 2:
            size = _number(file, file.read(1))
            if key >> 3 != _OPSET_IMPORT:
                file.seek(size, 1)
                continue
            opset = _opset_in(file.read(size))
            if opset is not None:
                return opset
        elif key & 7 == 0:
            _number(file, file.read(1))
        else:
            raise ValueError("ModelProto has no field of this type")


def _opset_in(entry: bytes) -> int | None:
    """The version in an OperatorSetIdProto of ONNX's own domain."""
    file, domain, version = BytesIO(entry), b"", None
    while True:
        first = file.read(1)
        if not first:
            return version if domain in (b"", b"ai.onnx") else None
        key = _number(file, first)
        if key == _DOMAIN << 3 | 2:
            domain = file.read(_number(file, file.read(1)))
        elif key == _VERSION << 3:
            version = _number(file, file.read(1))
        else:
            raise ValueError("OperatorSetIdProto has no such field")


def _number(file: BinaryIO, first: bytes) -> int:
    """A varint whose first byte is read already."""
    if not first:
        raise ValueError("it ends in the middle")
    result, shift, byte = first[0] & 127, 7, first[0]
    while byte & 128:
        following = file.read(1)
        if not following or shift > 63:
            raise ValueError("it ends in the middle")
        byte = following[0]
        result |= (byte & 127) << shift
        shift += 7
    return result
