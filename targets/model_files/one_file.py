"""Models whose weights lie in files beside them (ONNX "external data"), brought together in one file.

What is pushed to a board, run, and named by its digest is one file: weights outside of it would be missing
there, and a measurement would be found again for other weights.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx.external_data_helper import uses_external_data

from ...compress.litert_file.read import is_litert
from ...errors import InputError
from .container import require_litert

# `producer_name` of a file that compress/onnx_file wrote, as protobuf stores it near the file's beginning.
_OURS = b"\x12\x0cautocompress"
LARGEST_BYTES = (1 << 31) - 1  # protobuf's, for one message


def in_one_file(path: Path, folder: Path) -> Path:
    """`path` itself when the model's weights are in it; otherwise a copy below `folder` that holds them.

    InputError if it is no ONNX file, a file of weights is missing, damaged or outside of the model's folder,
    both together exceed protobuf's 2 GB, or the copy does not fit on the disk.
    """
    if _is_litert(path):
        require_litert(path)
        return path
    model = _read(path)
    outside = _outside(model)
    if not outside:
        return path
    _require_small(path, sum(_length(tensor) for tensor in outside) + path.stat().st_size)
    for tensor in outside:
        tensor.raw_data = _weights(tensor, path)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    try:
        whole = Path(tempfile.mkdtemp(dir=folder)) / path.name
        whole.write_bytes(model.SerializeToString())
    except (EncodeError, ValueError):  # lengths that the model did not tell
        _require_small(path, LARGEST_BYTES + 1)
    except OSError as error:
        problem = f"A copy of {path} that holds its weights cannot be written to {folder} ({error.strerror})"
        raise InputError(f"{problem}: free space there, or set TMPDIR to another folder.") from error
    return whole


def is_foreign(path: Path) -> bool:
    """Whether the file says that another program than this package wrote it; options for LiteRT there are
    none.
    """
    with path.open("rb") as file:
        return _OURS not in file.read(64)


def require_whole(path: Path) -> None:
    """InputError if it is no file of a model, or one that keeps weights in other files."""
    if _is_litert(path):
        require_litert(path)
        return
    model = _read(path)
    if outside := _outside(model):
        raise InputError(
            f"The model {path} keeps the weights {outside[0].name!r} in another file: a bundle or run has "
            "them inside."
        )


def _is_litert(path: Path) -> bool:
    return path.is_file() and is_litert(path)


def _read(path: Path) -> onnx.ModelProto:
    try:
        if not path.is_file():
            raise InputError(f"The model {path} does not exist: give the path of an ONNX file.")
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError, MemoryError) as error:
        raise InputError(
            f"The model {path} cannot be read ({error}): give an ONNX file of at most 2 GB."
        ) from error
    if not model.HasField("graph"):
        raise InputError(f"The model {path} is empty: give an ONNX file, complete.")
    return model


def _outside(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The tensors whose values are in other files."""
    return [tensor for tensor in _tensors(model) if uses_external_data(tensor)]


def _weights(tensor: onnx.TensorProto, path: Path) -> bytes:
    """The tensor's bytes, out of a file in the folder of the model `path`: a model shall not carry other
    files away.
    """
    entries = _entries(tensor)
    data = path.parent / entries.get("location", "")
    try:
        if not data.resolve().is_relative_to(path.parent.resolve()):
            raise InputError(
                f"The model {path} keeps weights in {data}, which leads out of its folder: copy both into "
                "one."
            )
        if not data.is_file():
            raise InputError(
                f"The model {path} keeps weights in {data}, which does not exist: put that file beside the "
                "model."
            )
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", data.stat().st_size - offset))
        _require_small(path, length)
        with data.open("rb") as file:
            file.seek(offset)
            weights = file.read(length) if length >= 0 else b""
        if len(weights) != length:
            raise ValueError(f"{length} bytes from byte {offset} on are not in it")
    except (OSError, ValueError) as error:
        raise InputError(
            f"The weights of {path} in {data} cannot be read: copy both files anew ({error})."
        ) from error
    return weights


def _require_small(path: Path, size: int) -> None:
    if size > LARGEST_BYTES:
        raise InputError(
            f"The model {path} and its weights do not fit into one ONNX file, which holds 2 GB at most "
            f"({size / 1e9:.1f} GB): measure a smaller model, or parts of it."
        )


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All stored tensors: initializers and attributes, sparse ones too, also of functions and of graphs
    inside nodes.
    """
    parts, sparse = [model.graph, *model.functions], list[onnx.SparseTensorProto]()
    while parts:
        part = parts.pop()
        if isinstance(part, onnx.GraphProto):
            yield from part.initializer
            sparse += part.sparse_initializer
        for attribute in (attribute for node in part.node for attribute in node.attribute):
            yield from (attribute.t, *attribute.tensors)
            sparse += (attribute.sparse_tensor, *attribute.sparse_tensors)
            parts += [attribute.g, *attribute.graphs] if attribute.HasField("g") else attribute.graphs
    for stored in sparse:
        yield from (stored.values, stored.indices)


def _entries(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _length(tensor: onnx.TensorProto) -> int:
    """Bytes that the tensor takes; 0 if the model does not say."""
    text = _entries(tensor).get("length", "0")
    return int(text) if text.isdecimal() and len(text) < 20 else 0
