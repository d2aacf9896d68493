"""The packed model: the bytes of model.onnx entropy-coded, restored bit for bit by `unpack` (which stands in
run.py as well). A packed file comes from anywhere: it is not believed in what it says of its size.

Layout of the file: an .xz stream of [length of the plan, 4 bytes][plan, JSON][bytes]. The bytes are those of
the weights, by type, and then the rest of the model. Weights of 4 bytes come first, their lowest bytes before
their second ones and so on: the exponents of neighbours are alike, their lowest bits are not.

The compressor is the standard library's LZMA, so that nothing is needed on the device. Of a ResNet-20 with
float32, int8, packed 4-bit and 2-bit weights it leaves .84, .85, .78 and .65; Brotli 11 takes 0.2 to 1.5 %
less, Zstandard 22 up to 5 % more. Unpacking nibbles to a byte per value makes the file 5 to 9 % larger: a
packed byte shows LZMA neighbours together.
"""

import json
import lzma
from collections.abc import Sequence

import numpy as np

from ...compress.litert_file.flat import IDENTIFIER
from ...compress.litert_file.read import litert_constants
from ...errors import StageError

_LEAST_BYTES = 16  # of a tensor that is worth an entry in the plan
_DICTIONARY_BYTES = 1 << 26


def pack(model: bytes) -> bytes:
    """The packed file of a model, ONNX or LiteRT's. StageError when it would not be restored bit for bit."""
    words, others = _weight_ranges(model)
    weights = b"".join(model[start : start + length] for start, length in words)
    planes = np.frombuffer(weights, np.uint8).reshape(-1, 4).T.tobytes()
    moved = [*words, *others]
    rest = np.ones(len(model), bool)
    for start, length in moved:
        rest[start : start + length] = False
    parts = [model[start : start + length] for start, length in others]
    plan = json.dumps({"planes": len(planes), "ranges": moved}, separators=(",", ":")).encode()
    content = b"".join(
        [
            len(plan).to_bytes(4, "little"),
            plan,
            planes,
            *parts,
            np.frombuffer(model, np.uint8)[rest].tobytes(),
        ]
    )
    packed = lzma.compress(content, filters=_filters(len(content)))
    try:
        same = unpack(packed, len(model)) == model
    except ValueError:  # nearly nothing but zeros: nobody would believe its size
        same = False
    if not same:
        raise StageError(
            "The packed model is not restored bit for bit: ship the bundle without --packed.", stage="build"
        )
    return packed


def unpack(packed: bytes, size: int) -> bytes:
    """The model of `size` bytes that was packed, bit for bit. ValueError when it is damaged.

    Nothing larger than the model is made of the file, and no model that is too large for an ONNX file, or
    that no weights pack to so few bytes.
    """
    try:
        return expand(packed, size)
    except (lzma.LZMAError, EOFError, LookupError, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
    except (MemoryError, RecursionError) as error:
        raise ValueError(type(error).__name__) from error


def expand(packed: bytes, size: int) -> bytes:
    """What `unpack` does; a damaged file raises whatever it leads to."""
    if not 0 < size <= max(1 << 24, 256 * len(packed)) or size >= 1 << 31:
        raise ValueError(f"{len(packed)} bytes are no packed model of {size}")
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 27)
    length = int.from_bytes(decoder.decompress(packed, 4), "little")
    if length > 64 + 2 * size:
        raise ValueError("its plan is too long")
    plan = json.loads(decoder.decompress(b"", length))
    content = decoder.decompress(b"", size + 1)
    if len(content) != size or not decoder.eof or decoder.unused_data:
        raise ValueError("it holds another number of bytes")
    body = np.frombuffer(content, np.uint8).copy()
    body[: plan["planes"]] = body[: plan["planes"]].reshape(4, -1).T.ravel()
    model, rest, position = np.empty(size, np.uint8), np.ones(size, bool), 0
    for offset, length in plan["ranges"]:
        model[offset : offset + length] = body[position : position + length]
        rest[offset : offset + length] = False
        position += length
    model[rest] = body[position:]
    return model.tobytes()


def _weight_ranges(model: bytes) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Where the initializers' values lie in the file, as (start, length): those of 4 bytes each, and the
    others by type.

    Found by content, so that a wrong place could only compress worse: what is restored does not depend on it.
    """
    by_type: dict[int, list[tuple[int, int]]] = {}
    wide, weights = _weights(model)
    position = 0
    for kind, raw in weights:
        start = model.find(raw, position) if len(raw) >= _LEAST_BYTES else -1
        if start >= 0:
            position = start + len(raw)
            by_type.setdefault(kind, []).append((start, len(raw)))
    words = [span for kind in sorted(by_type) if kind in wide for span in by_type[kind]]
    return words, [span for kind in sorted(by_type) if kind not in wide for span in by_type[kind]]


def _weights(model: bytes) -> tuple[set[int], list[tuple[int, bytes]]]:
    """Which types have 4 bytes, and the stored values in the file's order, each with its type."""
    import onnx

    if model[4:8] == IDENTIFIER:
        found = litert_constants(model)
        return {0, 2}, sorted(found, key=lambda one: model.find(one[1]))  # float32, int32
    tensors = onnx.load_from_string(model).graph.initializer
    wide = {int(onnx.TensorProto.FLOAT), int(onnx.TensorProto.INT32)}
    return wide, [(tensor.data_type, tensor.raw_data) for tensor in tensors]


def _filters(size: int) -> Sequence[dict[str, int]]:
    """LZMA at its best, with no more memory than the content needs, and without its guess that bytes come in
    fours.
    """
    dictionary = min(_DICTIONARY_BYTES, max(1 << 16, size))
    return [
        {
            "id": lzma.FILTER_LZMA2,
            "preset": 9 | lzma.PRESET_EXTREME,
            "dict_size": dictionary,
            "lc": 3,
            "lp": 0,
            "pb": 0,
        }
    ]
