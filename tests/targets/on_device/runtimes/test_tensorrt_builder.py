"""The builder half with the real tensorrt-rtx, which needs no GPU: parsed, built ahead of time, layers as its
log tells them.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from autocompress.targets.on_device.runtime import RefusedError
from autocompress.targets.on_device.runtimes.tensorrt_gpu.build import (
    OPTIONS,
    EngineError,
    Shapes,
    build,
    logger_of,
    network_flags,
)
from autocompress.targets.on_device.runtimes.tensorrt_gpu.layers import layer_precisions
from autocompress.tests.targets import models
from autocompress.tests.targets.gpu import FAKE

trt = pytest.importorskip("tensorrt_rtx")
BATCH_2 = Shapes(2, {}, None)


def logger_that_shows_layers(seen: list[dict]):
    """A logger that reads the engine's layers out of the builder's verbose log: its inspector needs a GPU."""

    logger_class: Any = type(logger_of(trt))

    class Log(logger_class):
        def log(self, severity, message):
            super().log(severity, message)
            if message.startswith("Layers:"):
                for name, kind, rest in re.findall(
                    r"^Name: (\S+), LayerType: (\w+), (.*)$", message, re.MULTILINE
                ):
                    inputs, constants = (tensors(key, rest) for key in ("Inputs", "Constants"))
                    metadata = rest.rpartition("Metadata: ")[2]
                    told = {"Inputs": inputs, "Constants": constants, "Metadata": metadata}
                    seen.append({"Name": name, "LayerType": kind, **told})

    return Log()


def tensors(key: str, text: str) -> list[dict]:
    """A list of tensors in the builder's log: `Inputs: [ { Name: x, Dimensions: [2,3], …, Datatype: Float, …
    }, { … }], `.
    """
    part = re.search(rf"{key}: \[(.*?)\}}\], ", text)
    found = re.findall(r"Dimensions: \[([\d,]*)\].*?Datatype: (\w+)", part.group(1)) if part else []
    return [
        {"Dimensions": [int(size) for size in sizes.split(",") if size], "Datatype": kind}
        for sizes, kind in found
    ]


def test_an_engine_is_built_for_the_batch_that_is_measured(tmp_path: Path) -> None:
    built = build(trt, logger_of(trt), str(models.chain(tmp_path / "m.onnx", layers=2)), BATCH_2, OPTIONS)
    assert len(built.plan) > 2 * 16 * 16 * 9 * 4 and built.seconds > 0
    assert built.flags == ("SPARSE_WEIGHTS", "STRONGLY_TYPED") and built.timings is None


def test_a_gpu_that_is_named_is_built_for(tmp_path: Path) -> None:
    model = str(models.chain(tmp_path / "m.onnx", layers=1))
    assert build(trt, logger_of(trt), model, BATCH_2, OPTIONS, capability=(8, 9)).plan
    assert build(trt, logger_of(trt), model, BATCH_2, OPTIONS, capability=(9, 0)).plan  # has no name: for all


def test_the_real_builder_computes_each_layer_in_the_precision_that_the_model_says(tmp_path: Path) -> None:
    seen: list[dict] = []
    build(
        trt,
        logger_that_shows_layers(seen),
        str(models.mixed_precisions(tmp_path / "m.onnx")),
        BATCH_2,
        OPTIONS,
        capability=(8, 9),
    )
    found = layer_precisions(seen)
    assert {name: found[name] for name in ("q", "h", "f")} == {"q": "int8", "h": "float16", "f": "float32"}


def test_what_the_real_parser_refuses_is_told_with_its_reason(tmp_path: Path) -> None:
    model = models.quantized_chain(tmp_path / "m.onnx", precisions="q")
    with pytest.raises(EngineError, match="TensorRT cannot read the model: node"):
        build(trt, logger_of(trt), str(model), BATCH_2, OPTIONS)
    (tmp_path / "bad.onnx").write_bytes(b"rubbish")
    with pytest.raises(EngineError, match="Failed to parse"):
        build(trt, logger_of(trt), str(tmp_path / "bad.onnx"), BATCH_2, OPTIONS)


def test_sizes_come_from_names_then_the_batch_then_the_samples() -> None:
    shapes = Shapes(4, {"a": [1, 7]}, [(100, 12)])
    assert shapes.sizes("a", (-1, -1), 0) == [1, 7]
    assert shapes.sizes("b", (-1, -1), 0) == [4, 12]
    assert shapes.sizes("c", (3, 5), 0) == [3, 5]
    with pytest.raises(RefusedError, match="--shape d=4,32"):
        shapes.sizes("d", (-1, -1), 1)


def test_strong_typing_is_asked_for_where_it_exists() -> None:
    assert network_flags(trt) == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def public(value: object) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


def test_the_fake_has_nothing_that_the_real_one_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FAKE))
    import fake_tensorrt as fake

    rtx = fake.api("1.7.1", rtx=True)
    assert {name for name in rtx if not name.startswith("_")} <= public(trt)
    pairs = {
        "Builder": fake.Builder,
        "INetworkDefinition": fake.Network,
        "ITensor": fake.Tensor,
        "OnnxParser": fake.OnnxParser,
        "ParserError": fake.ParserError,
        "IBuilderConfig": fake.ConfigRTX,
        "ITimingCache": fake.ITimingCache,
        "IHostMemory": fake.IHostMemory,
        "Runtime": fake.Runtime,
        "ICudaEngine": fake.EngineRTX,
        "IExecutionContext": fake.IExecutionContext,
        "EngineInspector": fake.EngineInspector,
        "IRuntimeConfig": fake.IRuntimeConfig,
        "IRuntimeCache": fake.IRuntimeCache,
    }
    inherited = {"IHostMemory": public(bytes), "Builder": set(), "ITimingCache": {"known", "fits"}}
    own = {"IBuilderConfig": {"set_flags"}, "INetworkDefinition": {"read"}, "EngineInspector": {"layers"}}
    for name, kind in pairs.items():
        extra = public(kind) - public(getattr(trt, name)) - inherited.get(name, set()) - own.get(name, set())
        assert extra == set(), f"the fake's {name}"
    for name in (
        "BuilderFlag",
        "NetworkDefinitionCreationFlag",
        "DataType",
        "LayerType",
        "ProfilingVerbosity",
        "TensorIOMode",
    ):
        assert set(rtx[name].__members__) <= set(getattr(trt, name).__members__), name
