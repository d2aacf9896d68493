"""How fast each runtime of a CPU runs the same candidates: float32, int8, and 8-bit weights computed in float32.

    python benchmarks/runtimes.py dscnn mobilenet resnet20 --core 1 [--targets cpu,cpu-litert] [--rounds 40]

Each network of ../shared/data is built in three recipes, for every target in its own format (ONNX or .tflite).
All sessions live in one process and take turns, one thread, batch 1; a number is the median ratio of thread CPU
time to the float32 file on the first target in the same round. Beside it the size of the file, how far its
answers are from those of the first target (root mean square, relative), and the precisions that its runtime says
it executes, with the number of layers, where it tells them.

Takes about a minute for each network. Without openvino or ai-edge-litert leave their targets out.
"""

import argparse
import importlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from autocompress.benchmarks.nets import ROOT, TASKS
from autocompress.compress import Compressor, Network, Recipe
from autocompress.compress.onnx_file.check import relative_error
from autocompress.compress.options import CompressorOptions
from autocompress.compress.recipe import Precision
from autocompress.evaluation.targets import format_of
from autocompress.profiles import Profile, load_profile
from autocompress.targets.transport import WORKER
from autocompress.tasks.load import load_task

HERE = Path(__file__).resolve().parent
TARGETS = "cpu,cpu-openvino,cpu-openvino-bf16,cpu-litert"
RECIPES: tuple[Precision, ...] = ("float32", "int8", "w8")


def main() -> None:
    """Prints a row for each network, recipe and runtime."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", choices=sorted(TASKS))
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--targets", default=TARGETS)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    # In place of this folder, whose openvino.py is not the library.
    sys.path[:] = [str(WORKER.parent), *(path for path in sys.path if Path(path).resolve() != HERE)]
    profiles = [load_profile(name) for name in arguments.targets.split(",")]
    print(f"{'':>10} {'recipe':>8} {'target':>18} {'ratio':>6} {'KB':>8} {'differs':>8} runs")
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, profiles, arguments.data, Path(folder), arguments.rounds)


def compare(name: str, profiles: Sequence[Profile], data: Path, folder: Path, rounds: int) -> None:
    """The rows of one network."""
    task = load_task(str(ROOT / TASKS[name]), {"data": str(data)})
    network = Network.trace(task.model, task.example_inputs)
    formats = tuple(dict.fromkeys(map(format_of, profiles)))
    options = CompressorOptions(formats=formats, importance="magnitude", refit_samples=0, check_samples=8)
    compressor = Compressor(task, network, options)
    bound, built, answers, runs = {}, {}, {}, {}
    for kind in RECIPES:
        able = [layer.name for layer in network.layers if not layer.float_only]
        recipe = Recipe() if kind == "float32" else Recipe(precision=dict.fromkeys(able, kind))
        result = compressor.build(recipe, folder)
        for profile in profiles:
            key = kind, profile.name
            file = built[key] = result.of(format_of(profile))
            session, runs[key] = opened(profile, file.artifact.path)
            names = [one.name for one in session.inputs]
            inputs = dict(zip(names, file.check.inputs, strict=True))
            answers[key] = session.run(inputs)[0]
            one = {name: np.ascontiguousarray(x[:1]) for name, x in inputs.items()}
            bound[key] = session.bind(one)
    for (kind, target), ratio in ratios(bound, rounds).items():
        differs = relative_error(answers[kind, target], answers[kind, profiles[0].name])
        size, ran = built[kind, target].artifact.size_bytes / 1e3, runs[kind, target]
        print(f"{name:>10} {kind:>8} {target:>18} {ratio:6.3f} {size:8.1f} {differs:8.1e} {ran}", flush=True)


def opened(profile: Profile, model: Path):
    """A session of the target's runtime in this process, as its worker opens it; and what it executes."""
    runtime = importlib.import_module("on_device.runtimes.listed").load_runtime(profile.runtime)
    options = dict(profile.runtime_options)
    request = {
        "threads": 1,
        "timer": "thread-cpu",
        "runtime_options": options,
        "model": str(model),
        "batch": 1,
    }
    ran = ""
    if profile.facts.precision_from == "report":
        counts = Counter(runtime.optimized(request)["layers"].values())
        ran = ", ".join(f"{count} {precision}" for precision, count in counts.most_common())
    return runtime.open_session(str(model), request), ran


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
