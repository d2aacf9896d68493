"""The deployment bundle of one point: the model, what it is, how to run it, and checksums.

model.onnx       the file that was measured, byte for byte; or, packed,
model.packed     the same, entropy-coded: run.py restores it bit for bit in memory (packed.py)
manifest.json    recipe, digests, metrics with spreads, inputs and outputs, preprocessing, environment, command
run.py           loads and runs it with nothing but onnxruntime and numpy; for a GPU with TensorRT, numpy and on_device/ beside it
SHA256SUMS       for `sha256sum --check SHA256SUMS`
"""

import inspect
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, RunDirectoryError
from ..files import digest_of_file
from ..profiles.profile import GPU_RUNTIMES
from ..results.formats import LAYER_TIMES_NOTE, Point, Run, is_predicted, seconds_of, size_ratio
from . import bundle_tensorrt
from .packed import pack, unpack

SCHEMA_VERSION = 1
# What run.py is made of: the same for every runtime, but for the import, how a model is opened, and how it is
# run.
HEAD = '''\
"""Runs the model as manifest.json describes it: python run.py [INPUT.npy ...]  (without files: random inputs, batch 1)."""
import json
import sys
from pathlib import Path

import numpy as np
IMPORT

here = Path(__file__).resolve().parent
manifest = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
'''
INPUTS = """
inputs, files, random = manifest["inputs"], sys.argv[1:], np.random.default_rng(0)
if files and len(files) != len(inputs):
    sys.exit(f"The model has {len(inputs)} inputs ({', '.join(i['name'] for i in inputs)}): give as many .npy files.")
shapes = [[size if isinstance(size, int) else 1 for size in i["shape"]] for i in inputs]
arrays = [np.load(file) for file in files] or [random.random(shape) for shape in shapes]
feeds = {i["name"]: array.astype(i["dtype"]) for i, array in zip(inputs, arrays)}
"""


class Runner(NamedTuple):
    """The parts of run.py that depend on the runtime."""

    imports: str
    opening: str
    running: str


RUNNERS: dict[str, Runner] = {
    "onnxruntime": Runner(
        imports="import onnxruntime as ort",
        opening="""\
options = ort.SessionOptions()
options.intra_op_num_threads = manifest["session"]["threads"]
for key, value in manifest["session"]["options"].items():
    options.add_session_config_entry(key, value)
session = ort.InferenceSession(str(here / "model.onnx"), options, providers=["CPUExecutionProvider"])
""",
        running="""\
for output, value in zip(session.get_outputs(), session.run(None, feeds)):
    print(output.name, value.shape, value.dtype, value, sep="\\n")
""",
    ),
    "openvino": Runner(
        imports="""\

sys.modules["openvino_telemetry"] = None  # importing openvino would send a message to its maker
import openvino as ov""",
        opening="""\
options = {**manifest["session"]["options"], "INFERENCE_NUM_THREADS": str(manifest["session"]["threads"])}
core = ov.Core()
model = core.read_model(str(here / "model.onnx"))
""",
        running="""\
model.reshape({name: list(array.shape) for name, array in feeds.items()})  # kernels for known shapes are faster
results = core.compile_model(model, "CPU", options)(feeds)
for output, value in results.items():
    print(output.any_name, value.shape, value.dtype, value, sep="\\n")
""",
    ),
    **dict.fromkeys(
        GPU_RUNTIMES, Runner(bundle_tensorrt.IMPORTS, bundle_tensorrt.OPENING, bundle_tensorrt.RUNNING)
    ),
}


# What run.py has instead of a path to model.onnx.
RESTORING = '''\
def restored(file):
    """The packed model's bytes; ends the program when they are not those of manifest.json."""
    try:
        model = unpack(file.read_bytes())
    except (lzma.LZMAError, ValueError, IndexError, KeyError, EOFError) as error:
        sys.exit(f"{file} is damaged, its model cannot be restored ({error}): copy the bundle again.")
    if hashlib.sha256(model).hexdigest() != manifest["model"]["sha256"]:
        sys.exit(f"{file} is not the model of manifest.json, its SHA-256 differs: copy the bundle again.")
    return model


'''


def write_bundle(point: Point, run: Run, artifact: Path, out: Path, *, packed: bool = False) -> Path:
    """Writes the bundle of `point`, whose file is `artifact`, to the directory `out`: wholly or not at all.

    Returns the model's file in it: model.onnx, or model.packed. InputError when `out` is a file, holds
    anything or cannot be written; RunDirectoryError when the artifact is missing or is not the file that was
    measured.
    """
    require_free(out)
    if not artifact.is_file():
        raise RunDirectoryError(
            f"The file of trial {point['trial']} is gone: {artifact}. Search again to rebuild it."
        )
    digest = digest_of_file(artifact)
    if digest != point["artifact"]["digest"]:
        raise RunDirectoryError(
            f"{artifact} is not the file that was measured: its SHA-256 is {digest}, "
            f"but the run says {point['artifact']['digest']}. Search again to rebuild it."
        )
    name = "model.packed" if packed else "model.onnx"
    try:
        with _directory_becoming(out) as folder:
            if packed:
                (folder / name).write_bytes(pack(artifact.read_bytes()))
            else:
                shutil.copyfile(artifact, folder / name)
            described = manifest(point, run, artifact, file=folder / name)
            (folder / "manifest.json").write_text(_pretty(described), encoding="utf-8")
            runtime = run["target"]["runtime"]
            (folder / "run.py").write_text(run_script(packed=packed, runtime=runtime), encoding="utf-8")
            if runtime in GPU_RUNTIMES:
                bundle_tensorrt.copy_runtime(folder, runtime)
            (folder / "SHA256SUMS").write_text(_checksums(folder), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The bundle cannot be written to {out} ({error.strerror or error}): free space, or choose another --out."
        ) from error
    return out / name


def require_free(out: Path) -> None:
    """InputError when a bundle cannot go to `out`, because something is there."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"{out} exists already and is not an empty directory: choose another one, or remove it."
        )


def run_script(runtime: str, *, packed: bool) -> str:
    """The content of run.py; for a packed model with `unpack` in it, so that the device needs nothing of this
    package.
    """
    runner = RUNNERS[runtime]
    head = HEAD.replace("IMPORT", runner.imports)
    body = runner.opening + INPUTS + runner.running
    if not packed:
        return head + body
    head = head.replace("import json\nimport sys\n", "import hashlib\nimport json\nimport lzma\nimport sys\n")
    restore, more = (
        ("restored_path", bundle_tensorrt.RESTORING_PATH) if runtime in GPU_RUNTIMES else ("restored", "")
    )
    body = body.replace('str(here / "model.onnx")', f'{restore}(here / "model.packed")')
    return f"{head}\n\n{inspect.getsource(unpack)}\n\n{RESTORING}{more}{body}"


def manifest(point: Point, run: Run, artifact: Path, *, file: Path) -> dict[str, Any]:
    """What manifest.json says of the point, a JSON value. `file` is the model in the bundle; sha256 is that
    of the ONNX model.
    """
    task, target = run["task"], run["target"]
    inputs, outputs = _signature(artifact)
    shipped = {} if file.suffix == ".onnx" else {"packed_bytes": file.stat().st_size}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": f"{task['name']}-{target['name']}-trial-{point['trial']}",
        "model": {"file": file.name, "sha256": point["artifact"]["digest"]}
        | {name: point["artifact"][name] for name in ("size_bytes", "macs", "parameters")}
        | shipped,
        "inputs": inputs,
        "outputs": outputs,
        "preprocessing": task["preprocessing"],
        "session": {
            "runtime": target["runtime"],
            "threads": target["threads"],
            "options": dict(target["runtime_options"]),
        },
        "metrics": _metrics(point, run),
        "recipe": point["recipe"],
        "layers": list(point["layers"]),
        "layer_times": LAYER_TIMES_NOTE,
        "warnings": list(point["warnings"]),
        "task": {name: task[name] for name in ("name", "spec", "arguments", "digest")},
        "target": dict(target),
        "environment": dict(run["environment"]),
        "reproduce": {"command": run["command"], "trial": point["trial"]},
    }


def _metrics(point: Point, run: Run) -> dict[str, Any]:
    """Every number with its spread, and the original model's beside it. A predicted latency has `predicted_s`
    and its source.
    """
    original = run["baseline"]
    return {
        "quality": {
            "metric": dict(run["task"]["metric"]),
            **point["quality"],
            "drop": point["drop"],
            "original_validation": original["quality"]["validation"],
        },
        "latency": {
            **point["latency"],
            f"original_{'predicted_' * is_predicted(original)}s": seconds_of(original),
        },
        "size": {
            "bytes": point["artifact"]["size_bytes"],
            "ratio": size_ratio(point, run),
            "original_bytes": original["artifact"]["size_bytes"],
        },
        "indistinguishable_from": list(point["indistinguishable_from"]),
    }


def _signature(artifact: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Inputs and outputs as {name, shape, dtype}: a dynamic dimension is its name (or `dynamic`)."""
    import onnx

    graph = onnx.load(artifact, load_external_data=False).graph
    stored = {initializer.name for initializer in graph.initializer}
    inputs = [_tensor(value) for value in graph.input if value.name not in stored]
    return inputs, [_tensor(value) for value in graph.output]


def _tensor(value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    dimensions = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "dynamic" for dim in tensor.shape.dim
    ]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return {"name": value.name, "shape": dimensions, "dtype": dtype.name}


def _checksums(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{digest_of_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def _pretty(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def _directory_becoming(out: Path) -> Iterator[Path]:
    """Yields a temporary directory beside `out` that takes its place at the end, or is removed on error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
