"""Packing: whatever is in a model, its bytes come back, and structure in the weights pays."""

import json
import lzma
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from autocompress.deploy.bundled.packed import pack, unpack
from autocompress.errors import StageError
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)


def model_with(**weights):
    """The bytes of a model that stores these arrays."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "weights",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)]).SerializeToString()


def bell(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


MODELS = {
    "float32": model_with(a=bell(32, 16, 3, 3), b=bell(32)),
    "int8": model_with(a=(30 * bell(64, 64)).astype(np.int8), s=bell(64), b=np.arange(64, dtype=np.int32)),
    "int4": model_with(a=np.clip(np.rint(2 * bell(64, 65)), -8, 7).astype(ml_dtypes.int4), s=bell(64)),
    "int2": model_with(a=np.clip(np.rint(bell(63, 33)), -2, 1).astype(ml_dtypes.int2)),
    "uint8": model_with(planes=RNG.integers(0, 256, 999).astype(np.uint8), shift=np.arange(9)),
    "equal-tensors": model_with(
        a=np.zeros(64, np.float32), b=np.zeros(64, np.float32), c=np.zeros(64, np.int8)
    ),
    "tiny": model_with(a=np.ones(1, np.float32)),
    "none": model_with(),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_every_model_comes_back_bit_for_bit(model):
    assert unpack(pack(model), len(model)) == model


def test_zeros_and_low_bits_pay():
    weights = bell(256, 256)
    pruned = np.where(RNG.random(weights.shape) < 0.9, 0, weights).astype(np.float32)
    int8, few = ((scale * weights).clip(-127, 127).astype(np.int8) for scale in (40, 2))
    assert len(pack(model_with(a=pruned))) < 0.25 * len(model_with(a=pruned))
    assert len(pack(model_with(a=few))) < 0.4 * len(model_with(a=few)) < len(pack(model_with(a=int8)))


def test_float32_weights_pack_better_than_in_the_order_of_the_file():
    model = model_with(a=0.05 * bell(256, 64))
    assert len(pack(model)) < 0.95 * len(lzma.compress(model, preset=9 | lzma.PRESET_EXTREME))


def test_packing_is_deterministic():
    assert pack(MODELS["int8"]) == pack(MODELS["int8"])


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b[:60] + bytes([b[60] ^ 4]) + b[61:], lambda b: b""]
)
def test_a_damaged_file_is_an_error(damage):
    with pytest.raises(ValueError):
        unpack(damage(pack(MODELS["int8"])), len(MODELS["int8"]))


def bomb(size):
    """An .xz stream of a plan and so many zeros."""
    plan = json.dumps({"planes": 0, "ranges": []}).encode()
    encoder = lzma.LZMACompressor(preset=0)
    parts = [encoder.compress(len(plan).to_bytes(4, "little") + plan)]
    parts += [encoder.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, encoder.flush()])


@pytest.mark.parametrize(("stated", "reason"), [(1000, "another number"), (1 << 28, "are no packed model")])
def test_a_file_that_expands_to_much_more_than_a_model_takes_no_memory(stated, reason):
    packed = bomb(64 << 20)
    assert len(packed) < 200_000
    tracemalloc.start()
    with pytest.raises(ValueError, match=reason):
        unpack(packed, stated)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def xz(plan, body):
    return lzma.compress(len(plan).to_bytes(4, "little") + plan + body)


MISLEADING = {
    "deep": xz(b"[" * 20_000, bytes(8)),
    "infinite": xz(b'{"planes": 8, "ranges": [[0, 1e999]]}', bytes(8)),
    "no-words": xz(b'{"planes": 6, "ranges": []}', bytes(8)),
    "negative": xz(b'{"planes": 0, "ranges": [[-4, 8]]}', bytes(8)),
    "text": xz(b'{"planes": "0", "ranges": [[0, 8]]}', bytes(8)),
    "no-ranges": xz(b'{"planes": 0}', bytes(8)),
    "list": xz(b"[]", bytes(8)),
    "short": xz(b"{}", bytes(7)),
    "more": xz(b'{"planes": 0, "ranges": []}', bytes(8)) + b"more",
    "long-plan": lzma.compress(b"\xff\xff\xff\xff"),
    "empty-stream": lzma.compress(b""),
    "zip": b"PK\x03\x04",
}


@pytest.mark.parametrize("packed", MISLEADING.values(), ids=MISLEADING.keys())
def test_a_file_that_is_made_to_mislead_is_an_error(packed):
    with pytest.raises(ValueError):
        unpack(packed, 8)


def test_a_model_of_zeros_alone_is_not_packed():
    with pytest.raises(StageError, match="ship the bundle without --packed"):
        pack(model_with(a=np.zeros(17 << 18, np.float32)))
