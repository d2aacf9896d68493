"""What the monitor of a bundle costs: the same inferences with and without it, in turns.

    python benchmarks/monitor.py [MILLISECONDS OF THE MODEL ...]

Prints for each model (matrix products with an image of 3 × 64 × 64 as input; 1 ms if none is given) the ratio
of times with the monitor and without, each the lower quartile of 200 blocks of 25 ms in turns (other work on
the machine disturbs the slower ones), with its 95 % interval (bootstrap), in CPU time of the thread. Needs a
quarter of a minute for 1 ms. The bundle is a real one, and the monitor writes a line every 10 seconds.
"""

import importlib.util
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
from autocompress.deploy.bundle import write_bundle
from autocompress.evaluation.sample_statistics import StatisticsFolder
from autocompress.files import digest_of_file
from autocompress.results.view import RunOn
from autocompress.tests.deploy.small_run import small_run
from autocompress.tests.present import present
from onnx import TensorProto, helper, numpy_helper

PAIRS, BLOCK_S = 200, 0.025
SHAPE = (3, 64, 64)


def main(*milliseconds: float) -> None:
    """Prints a row for each model."""
    print(f"{'model':>10}  {'with / without':>14}  95 % interval")
    for wanted in milliseconds or (1.0,):
        with tempfile.TemporaryDirectory() as folder:
            script = _script(Path(folder), wanted)
            print(
                "{:7.3f} ms  {:14.4f}  {:.4f} to {:.4f}".format(*_overhead(script, Path(folder))), flush=True
            )


def _overhead(script: ModuleType, folder: Path) -> tuple[float, float, float, float]:
    """Milliseconds of the model; the ratio with and without the monitor, and its interval."""
    random = np.random.default_rng(0)
    images = [random.standard_normal((1, *SHAPE)).astype(np.float32) for _ in range(20)]
    script.monitor(str(folder / "log.jsonl"), every_s=10.0)
    watching = list(script.monitors)
    once = _seconds(script, images, 20)
    count = max(10, int(BLOCK_S / once))
    blocks = np.empty((PAIRS, 2))
    for number in range(PAIRS):
        for watched in (1, 0) if number % 2 else (0, 1):
            script.monitors[:] = watching if watched else []
            blocks[number, watched] = _seconds(script, images, count)
    draws = np.quantile(blocks[random.integers(0, PAIRS, (2000, PAIRS))], 0.25, axis=1)
    low, high = np.quantile(draws[:, 1] / draws[:, 0], [0.025, 0.975])
    plain, watched_s = np.quantile(blocks, 0.25, axis=0)
    return 1e3 * float(plain), float(watched_s / plain), float(low), float(high)


def _seconds(script: ModuleType, images: list[np.ndarray], count: int) -> float:
    """CPU seconds of an inference."""
    began = time.thread_time()
    for number in range(count):
        script.run({"x": images[number % len(images)]})
    return (time.thread_time() - began) / count


def _script(folder: Path, milliseconds: float) -> ModuleType:
    """run.py of a bundle whose model takes about so long, from the number of its products."""
    products = 1
    script = _bundled(folder / "0", products)
    image = np.zeros((1, *SHAPE), np.float32)
    for attempt in range(1, 6):
        seconds = min(_seconds(script, [image], 20) for _ in range(5))
        if 0.8 < 1e3 * seconds / milliseconds < 1.25:
            break
        products = max(1, round(products * milliseconds / (1e3 * seconds)))
        script = _bundled(folder / str(attempt), products)
    return script


def _bundled(folder: Path, products: int) -> ModuleType:
    view = RunOn.of(small_run(folder / "run"), "cpu")
    file = _model(folder / "run/artifacts/0.onnx", products)
    point = view.baseline
    facts = replace(point.artifact, digest=digest_of_file(file), size_bytes=file.stat().st_size)
    point = replace(point, measured=replace(point.measured, artifact=facts))
    random = np.random.default_rng(1)
    kept = StatisticsFolder.of_run(folder / "run")
    kept.keep_inputs([(random.standard_normal((256, *SHAPE)).astype(np.float32),)], layout="NCHW")
    answers = present(kept.outputs(facts.digest, samples=256))
    answers.add([random.standard_normal((256, 10)).astype(np.float32)])
    answers.done()
    write_bundle(point, file, folder / "bundle", run=folder / "run")
    spec = importlib.util.spec_from_file_location("bundle_run", folder / "bundle/run.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def _model(file: Path, products: int) -> Path:
    """So many products of 64 × 64 matrices after one with the image, then 10 numbers."""
    weight = (np.eye(64) + 0.01).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x" if not n else f"y{n}", "w"], [f"y{n + 1}"]) for n in range(products)
    ]
    nodes.append(helper.make_node("ReduceMean", [f"y{products}", "axes"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["mean", "head"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [
            numpy_helper.from_array(weight / np.float32(1.7), "w"),
            numpy_helper.from_array(np.array([2, 3]), "axes"),
            numpy_helper.from_array(np.ones((3, 10), np.float32), "head"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), file)
    return file


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
