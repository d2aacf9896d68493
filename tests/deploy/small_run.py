"""A small run made of records: the original and one int8 point, whose files are there.

The files are y = x · w with a dynamic batch. The numbers are made up.
"""

from pathlib import Path

import numpy as np
import onnx
from autocompress.compress.recipe import Recipe
from autocompress.files import digest_of_file
from autocompress.profiles import Environment, PredictedLatency
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import (
    LayerFacts,
    MetricFacts,
    Prediction,
    RunFacts,
    RunTarget,
    TaskFacts,
)
from autocompress.results.records.latency import AnyLatency, Latency, Predicted
from autocompress.results.records.point import ArtifactFacts, LayerRow, Measured, Point, Quality
from autocompress.results.records.run import Run
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)
PREDICTION = Prediction(source="roofline of a leaflet", error=None, quality="ONNX Runtime ran the same files")
ENVIRONMENT = Environment(
    cpu_model="Xeon",
    flags=("avx2", "avx512_vnni"),
    governor=None,
    threads=1,
    cores=(0,),
    runtime="onnxruntime",
    runtime_version="1.31.1",
    python_version="3.11.7",
    os="Linux",
)
TASK = TaskFacts(
    name="linear",
    metric=MetricFacts(name="accuracy", direction="higher", unit="fraction"),
    spec="no/such/task.py:make",
    arguments={"data": "here"},
    digest="5f" * 32,
    preprocessing={"scale": 255.0, "mean": [0.5]},
)


def linear(path: Path, *, scale: float = 1.0) -> Path:
    """Writes the model y = scale · x · WEIGHT."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array((scale * WEIGHT).astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def latency(ratio: float) -> Latency:
    """A latency of `ratio` ms, ± 1 %; that of the original is 1 ms."""
    low, high = 0.99 * ratio, 1.01 * ratio
    return Latency(
        latency_s=1e-3 * ratio,
        interval_s=(1e-3 * low, 1e-3 * high),
        ratio=ratio,
        ratio_interval=(low, high),
        p50_s=1e-3 * ratio,
        p90_s=1.1e-3 * ratio,
        p99_s=1.2e-3 * ratio,
        noisy=False,
        timer="thread-cpu",
        pairs=5,
        peak_memory_bytes=41_000_000,
    )


def predicted(ratio: float) -> Predicted:
    """The same, predicted."""
    return Predicted(latency=PredictedLatency(seconds=1e-3 * ratio, source=PREDICTION.source), ratio=ratio)


def target(
    name: str = "cpu", *, runtime: str = "onnxruntime", prediction: Prediction | None = None
) -> RunTarget:
    """A target of the run."""
    return RunTarget(
        name=name,
        profile_fingerprint="c0" * 32,
        threads=1,
        runtime=runtime,
        runtime_options={},
        batch=1,
        environment=ENVIRONMENT,
        constraints=Constraints(),
        prediction=prediction,
    )


def small_run(folder: Path, *targets: RunTarget) -> Run:
    """The run, with its files in `folder`; on one target, `cpu`, if none are given."""
    targets = targets or (target(),)
    points = []
    for trial, (ratio, quality, recipe) in enumerate(
        [(1.0, 0.90, Recipe()), (0.5, 0.89, Recipe(precision={"fc": "int8"}))]
    ):
        file = linear(folder / f"artifacts/{trial}.onnx", scale=1.0 + trial)
        outcomes = {
            one.name: _measured(file, trial, predicted(ratio) if one.prediction else latency(ratio), quality)
            for one in targets
        }
        points.append(Point(trial=trial, recipe=recipe, outcomes=outcomes, elapsed_s=10.0 * (1 + trial)))
    facts = RunFacts(
        task=TASK,
        targets=targets,
        command="autocompress search task.py:make",
        sampler="front",
        seed=0,
        layers=(LayerFacts(name="fc", kind="linear", channels=3, macs=12, parameters=12),),
    )
    return Run(facts=facts, points=tuple(points), uniform_trial=1, status="finished", elapsed_s=20.0)


def _measured(file: Path, trial: int, latency: AnyLatency, quality: float) -> Measured:
    precision = "int8" if trial else "float32"
    return Measured(
        artifact=ArtifactFacts(
            file=f"artifacts/{file.name}",
            digest=digest_of_file(file),
            size_bytes=file.stat().st_size,
            macs=12,
            parameters=12,
        ),
        quality=Quality(validation=quality, interval=(quality - 0.01, quality + 0.01)),
        drop=0.90 - quality,
        latency=latency,
        layers=(
            LayerRow(
                name="fc",
                kind="linear",
                channels_in=4,
                channels_out=3,
                channels_in_original=4,
                channels_out_original=3,
                precision_asked=precision,  # type: ignore[arg-type]
                precision_executed=precision,  # type: ignore[arg-type]
                bits=8 if trial else 32,
                macs=12,
                parameters=12,
                bytes=48,
            ),
        ),
    )
