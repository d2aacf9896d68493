"""How fast LiteRT runs what ONNX Runtime runs: float32, int8, and 8-bit weights computed in float32.

    python benchmarks/litert.py dscnn mobilenet resnet20 --core 1 [--rounds 40]

Each network of ../shared/data is built in three recipes, as an ONNX file for the target `cpu` and as a .tflite
file for `cpu-litert`. All sessions live in one process and take turns, one thread, batch 1; a number is the
median ratio of thread CPU time to the float32 ONNX file in the same round. Beside it the size of the file, and
how far its answers are from the ONNX file's (root mean square, relative).

Takes about half a minute for each network.
"""

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from autocompress.benchmarks.nets import ROOT, TASKS
from autocompress.compress import Compressor, Network, Recipe
from autocompress.compress.onnx_file.check import relative_error
from autocompress.compress.options import CompressorOptions
from autocompress.compress.recipe import Precision
from autocompress.evaluation.targets import format_of
from autocompress.profiles import load_profile
from autocompress.targets.transport import WORKER
from autocompress.tasks.load import load_task

PROFILES = {name: load_profile(name) for name in ("cpu", "cpu-litert")}
RECIPES: tuple[Precision, ...] = ("float32", "int8", "w8")


def main() -> None:
    """Prints a row for each network, recipe and runtime."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", choices=sorted(TASKS))
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    sys.path.insert(0, str(WORKER.parent))
    print(f"{'':>10} {'recipe':>8} {'target':>11} {'ratio':>6} {'KB':>8} {'differs':>8}")
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, arguments.data, Path(folder), arguments.rounds)


def compare(name: str, data: Path, folder: Path, rounds: int) -> None:
    """The rows of one network."""
    task = load_task(str(ROOT / TASKS[name]), {"data": str(data)})
    network = Network.trace(task.model, task.example_inputs)
    formats = tuple(format_of(profile) for profile in PROFILES.values())
    options = CompressorOptions(formats=formats, importance="magnitude", refit_samples=0, check_samples=8)
    compressor = Compressor(task, network, options)
    bound, built, answers = {}, {}, {}
    for kind in RECIPES:
        able = [layer.name for layer in network.layers if not layer.float_only]
        recipe = Recipe() if kind == "float32" else Recipe(precision=dict.fromkeys(able, kind))
        result = compressor.build(recipe, folder)
        for target, form in zip(PROFILES, formats, strict=True):
            file = built[kind, target] = result.of(form)
            session = opened(target, file.artifact.path)
            names = [one.name for one in session.inputs]
            inputs = dict(zip(names, file.check.inputs, strict=True))
            answers[kind, target] = session.run(inputs)[0]
            bound[kind, target] = session.bind(
                {name: np.ascontiguousarray(x[:1]) for name, x in inputs.items()}
            )
    for (kind, target), ratio in ratios(bound, rounds).items():
        differs = relative_error(answers[kind, target], answers[kind, "cpu"])
        size = built[kind, target].artifact.size_bytes / 1e3
        print(f"{name:>10} {kind:>8} {target:>11} {ratio:6.3f} {size:8.1f} {differs:8.1e}", flush=True)


def opened(target: str, model: Path):
    """A session of the target's runtime in this process, as its worker opens it."""
    profile = PROFILES[target]
    listed = importlib.import_module("on_device.runtimes.listed")
    options = dict(profile.runtime_options)
    request = {"threads": 1, "timer": "thread-cpu", "runtime_options": options}
    return listed.load_runtime(profile.runtime).open_session(str(model), request)


def ratios(bound, rounds: int):
    """By session, the median ratio of its block to that of the first session in the same round."""
    times: dict[tuple[str, str], list[float]] = {key: [] for key in bound}
    counts = {key: max(3, int(5e-3 / min(one.once() for _ in range(5)))) for key, one in bound.items()}
    for _ in range(rounds):
        for key, one in bound.items():
            times[key].append(one.block(counts[key])[0])
    first = np.array(next(iter(times.values())))
    return {key: float(np.median(np.array(values) / first)) for key, values in times.items()}


if __name__ == "__main__":
    main()
