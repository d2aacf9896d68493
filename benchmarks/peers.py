"""What the post-training tools of others reach on the same networks: ONNX Runtime's quantizer and NNCF.

    python benchmarks/peers.py dscnn mobilenet stories --core 1 [--nncf PYTHON] [--run RUN] [--rounds 40]

The float32 file is the one that a search exports. ONNX Runtime's tools make a file in each of their usual
settings (static by MinMax, entropy and percentile, per tensor and per channel, 7 bits, dynamic), NNCF in four
(its default, mixed, exact bias correction, weights alone) with the interpreter `--nncf`, which has `nncf`,
`onnx`, `torch`: its dependencies do not go together with ours. Calibration has 300 training samples. Every file is
validated, and all sessions take turns on one thread, batch 1, in one process; ratios are medians against the
float32 file of thread CPU time. With `--run` (of one network) the files of that run's front take the same turns.

A row for each file and, per tool, its default's hypervolume and that of all its settings together (design
section 5): its best setting for each wish. Takes two or three minutes for each network.

PLiNIO is not compared: it is not on PyPI and trains, so that its time is not comparable with these.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autocompress.benchmarks.nets import ROOT, TASKS
from autocompress.benchmarks.runtimes import opened, ratios
from autocompress.compress import Compressor, Network, Recipe
from autocompress.compress.options import CompressorOptions
from autocompress.profiles import load_profile
from autocompress.results.front import drop_scale, hypervolume
from autocompress.results.run_directory import read_run
from autocompress.targets.transport import WORKER
from autocompress.tasks import Task
from autocompress.tasks.data import read
from autocompress.tasks.load import load_task
from autocompress.tasks.task import Split

HERE = Path(__file__).resolve().parent
CALIBRATION = 300  # samples, NNCF's default
BATCH = 64  # of validation

# Run by the interpreter that has NNCF: the float32 file, calibration inputs, and the folder for its files.
NNCF = """
import sys
from pathlib import Path
import numpy as np, nncf, onnx
source, calibration, out = map(Path, sys.argv[1:4])
model = onnx.load(source)
stored = np.load(calibration)
names = [one.name for one in model.graph.input]
samples = [{name: stored[name][index:index + 1] for name in names} for index in range(len(stored[names[0]]))]
data = nncf.Dataset(samples)
transformer = {"model_type": nncf.ModelType.TRANSFORMER} if sys.argv[4] == "transformer" else {}
settings = {
    "default": lambda: nncf.quantize(onnx.load(source), data),
    "mixed": lambda: nncf.quantize(onnx.load(source), data, preset=nncf.QuantizationPreset.MIXED, **transformer),
    "exact bias": lambda: nncf.quantize(onnx.load(source), data, fast_bias_correction=False, **transformer),
    "weights": lambda: nncf.compress_weights(onnx.load(source), mode=nncf.CompressWeightsMode.INT8_SYM),
}
for name, make in settings.items():
    try:
        onnx.save(make(), out / f"{name}.onnx")
    except Exception as error:
        print(f"nncf, {name}: {type(error).__name__}: {str(error)[:160]}", file=sys.stderr)
"""


def main() -> None:
    """Prints a row for each file and a summary for each tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", choices=sorted(TASKS))
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--nncf", help="a Python that has nncf, onnx and torch; without it NNCF is left out")
    parser.add_argument("--run", type=Path, help="a run of the one network, whose front takes the same turns")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    # In place of this folder, whose openvino.py is not the library.
    sys.path[:] = [str(WORKER.parent), *(path for path in sys.path if Path(path).resolve() != HERE)]
    for network in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            compare(network, arguments, Path(folder))


def compare(network: str, arguments: argparse.Namespace, folder: Path) -> None:
    """The rows of one network."""
    task = load_task(str(ROOT / TASKS[network]), {"data": str(arguments.data)})
    traced = Network.trace(task.model, task.example_inputs)
    options = CompressorOptions(importance="magnitude", refit_samples=0, check_samples=8)
    result = Compressor(task, traced, options).build(Recipe(), folder)
    original = result.only.artifact.path
    calibration, _ = in_memory(task.train, limit=CALIBRATION)
    files = {"original": original, **onnx_runtime_files(original, calibration, folder)}
    if arguments.nncf:
        files |= nncf_files(arguments.nncf, original, calibration, folder, transformer=network == "stories")
    if arguments.run:
        files |= front_files(arguments.run)
    report(network, task, files, arguments.rounds)


def in_memory(split: Split, limit: int | None = None) -> tuple[list[np.ndarray], torch.Tensor]:
    """An array for each input, and the targets; all samples have one shape."""
    batches = list(read(split, limit=limit))
    inputs = [torch.cat(parts).numpy() for parts in zip(*(inputs for inputs, _ in batches), strict=True)]
    return inputs, torch.cat([targets for _, targets in batches])


def input_names(path: Path) -> list[str]:
    """The names of a file's inputs, in order."""
    import onnx

    return [one.name for one in onnx.load(path).graph.input]


def onnx_runtime_files(original: Path, samples: Sequence[np.ndarray], folder: Path) -> dict[str, Path]:
    """By setting, the files of ONNX Runtime's tools; a setting that fails is told and left out."""
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    quant_pre_process(str(original), str(prepared), skip_symbolic_shape=True)
    names = input_names(prepared)

    def static(out: Path, **settings: Any) -> None:
        quantize_static(str(prepared), str(out), _Reader(names, samples), **settings)

    def dynamic(out: Path) -> None:
        quantize_dynamic(str(prepared), str(out), weight_type=QuantType.QInt8)

    methods = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
    settings: dict[str, Any] = {"default": static, "dynamic": dynamic}
    for name, method in methods.items():
        for reduced in (False, True):
            chosen = {"per_channel": True, "calibrate_method": method, "reduce_range": reduced}
            chosen["activation_type"] = QuantType.QUInt8
            label = f"per channel, {name}{', 7 bits' if reduced else ''}"
            settings[label] = lambda out, chosen=chosen: static(out, **chosen)
    return _made("onnxruntime", settings, folder)


class _Reader:
    """The samples as ONNX Runtime's tools read them, one at a time."""

    def __init__(self, names: Sequence[str], samples: Sequence[np.ndarray]):
        self._names, self._samples = names, samples
        self._rows = self._all()

    def _all(self) -> Iterator[dict[str, np.ndarray]]:
        for index in range(len(self._samples[0])):
            yield {
                name: values[index : index + 1]
                for name, values in zip(self._names, self._samples, strict=True)
            }

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample; None at the end."""
        return next(self._rows, None)


def _made(tool: str, settings: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for name, make in settings.items():
        out = folder / f"{tool}-{len(files)}-{name.replace(' ', '')}.onnx"
        try:
            make(out)
        except Exception as error:  # a tool of others: what it raises is what is reported
            print(f"{tool}, {name}: {type(error).__name__}: {str(error)[:160]}", file=sys.stderr)
        else:
            files[f"{tool}: {name}"] = out
    return files


def nncf_files(
    python: str, original: Path, samples: Sequence[np.ndarray], folder: Path, *, transformer: bool
) -> dict[str, Path]:
    """By setting, the files that NNCF makes in a process of the interpreter that has it."""
    inputs, out = folder / "calibration.npz", folder / "nncf"
    out.mkdir()
    np.savez(inputs, allow_pickle=False, **dict(zip(input_names(original), samples, strict=True)))
    kind = "transformer" if transformer else "other"
    subprocess.run([python, "-c", NNCF, original, inputs, out, kind], check=True, stdout=subprocess.DEVNULL)
    return {f"nncf: {path.stem}": path for path in sorted(out.iterdir())}


def front_files(path: Path) -> dict[str, Path]:
    """The files of a run's front."""
    run, chosen = read_run(path), {}
    for point in run.front:
        measured = next(iter(run.measured(point).values()))
        if point.trial != 0:
            chosen[f"autocompress: trial {point.trial}"] = path / measured.artifact.file
    return chosen


def report(network: str, task: Task, files: Mapping[str, Path], rounds: int) -> None:
    """Validates and times all files in turns and prints what they are worth."""
    inputs, targets = in_memory(task.validation)
    profile = load_profile("cpu")
    values, bound = {}, {}
    for name, path in files.items():
        try:
            session, _ = opened(profile, path)
            names = [one.name for one in session.inputs]
            values[name] = validated(task, session, names, inputs, targets)
        except Exception as error:  # a file of others: what the runtime says of it is what is reported
            print(f"{name} does not run: {str(error)[:200]}", file=sys.stderr)
            continue
        one = {key: np.ascontiguousarray(x[:1]) for key, x in zip(names, inputs, strict=True)}
        bound[name] = session.bind(one)
    scale = drop_scale(task.metric.unit, values["original"])
    whole = files["original"].stat().st_size
    vectors = {}
    print(f"\n{network}\n{'':44} {'drop pp':>8} {'size':>6} {'time':>6}")
    for name, ratio in ratios(bound, rounds).items():
        drop = task.metric.drop(values[name], baseline=values["original"])
        size = files[name].stat().st_size / whole
        vectors[name] = (drop / scale, size, ratio)
        print(f"{name:44} {100 * drop:8.2f} {size:6.3f} {ratio:6.2f}", flush=True)
    for tool in dict.fromkeys(name.split(":")[0] for name in vectors if ":" in name):
        every = [vector for name, vector in vectors.items() if name.startswith(f"{tool}:")]
        default = [vector for name, vector in vectors.items() if name == f"{tool}: default"]
        print(json.dumps({"tool": tool, "default": hypervolume(default), "all settings": hypervolume(every)}))


def validated(task: Task, session: Any, names: Sequence[str], inputs: Any, targets: Any) -> float:
    """The metric of the file on the validation split."""
    answers = []
    for start in range(0, len(inputs[0]), BATCH):
        part = {name: x[start : start + BATCH] for name, x in zip(names, inputs, strict=True)}
        answers.append(session.run(part)[0])
    function = task.metric.function
    assert function is not None  # none of these metrics is a stream
    return float(function(np.concatenate(answers), targets))


if __name__ == "__main__":
    main()
