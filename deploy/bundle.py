"""The deployment bundle of one point: the model, what it is, how to run it, and checksums.

model.onnx       the file that was measured, byte for byte, and metadata after it (for LiteRT model.tflite,
                 without metadata); or, packed,
model.packed     the same, entropy-coded: run.py restores it bit for bit in memory (bundled/ has both)
manifest.json    recipe, digests, metrics with spreads, inputs, outputs, preprocessing, environment, command
reference.onnx   what `verify` compares its latency with (reference.py)
monitor.py       sums up on request what the model is given and answers (bundled/monitor.py)
run.py           loads and runs it with nothing but the runtime and numpy
on_device/       only for a runtime that builds engines (TensorRT): what run.py imports
SHA256SUMS       for `sha256sum --check SHA256SUMS`
SHA256SUMS.sig   on request, who signed that (bundled/signature.py)
"""

import hashlib
import inspect
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..compress.litert_file.read import is_litert, litert_signature
from ..errors import InputError, RunDirectoryError
from ..evaluation.sample_statistics import StatisticsFolder
from ..files import digest_of_file
from ..results.formats import LAYER_TIMES_NOTE
from ..results.records.manifest import (
    Manifest,
    ModelFacts,
    ModelName,
    OriginalFacts,
    ReferenceFacts,
    TensorFacts,
    model_name,
)
from ..results.records.statistics import SampleStatistics
from ..results.view import PointOn
from ..scratch import folder_in
from ..targets.model_files.one_file import require_whole
from ..targets.runtimes import script_of
from ..targets.transport import WORKER
from ..text.printable import json_text
from .bundled import monitor
from .bundled.packed import pack
from .bundled.run_script import run_script
from .bundled.shipped import shipped
from .bundled.signature import CHECKSUMS, SIGNATURE, signed
from .reference import STEM as REFERENCE
from .reference import reference_of
from .verify import Say

log = logging.getLogger(__name__)


def write_bundle(
    point: PointOn,
    artifact: Path,
    out: Path,
    *,
    original: Path | None = None,
    packed: bool = False,
    sign: Path | None = None,
    run: Path | None = None,
    note: Say = log.info,
) -> Path:
    """Writes the bundle of `point`, whose file is `artifact`, to the directory `out`: wholly or not at all.
    `original` is the file that its latency was measured beside, `sign` the private key that signs the bundle,
    `run` the run directory, whose statistics of samples the monitor needs.

    Returns the model's file in it: model.onnx, model.tflite or model.packed. InputError when `out` is a file,
    holds anything or cannot be written, or the key does not sign; RunDirectoryError when the artifact is
    missing or is not the file that was measured.
    """
    require_free(out)
    if not artifact.is_file():
        raise RunDirectoryError(
            f"The file of trial {point.trial} is gone: {artifact}. Search again to rebuild it."
        )
    digest = digest_of_file(artifact)
    if digest != point.artifact.digest:
        raise RunDirectoryError(
            f"{artifact} is not the file that was measured: its SHA-256 is {digest}, "
            f"but the run says {point.artifact.digest}. Search again to rebuild it."
        )
    require_whole(artifact)
    name = _model_name(point, packed=packed)
    try:
        with _directory_becoming(out) as folder:
            inputs, _ = signature_of(artifact)
            reference = reference_of(point, artifact, original, folder, inputs, note=note)
            model = artifact.read_bytes()
            described = manifest_of(point, artifact, packed=packed, reference=reference)
            described = replace(described, statistics=_statistics(described, run))
            if described.target.container == "onnx":
                model = shipped(model, point, described)
            (folder / name).write_bytes(pack(model) if packed else model)
            described = replace(described, model=_shipped_facts(described.model, model, folder / name))
            (folder / "manifest.json").write_text(_pretty(described), encoding="utf-8")
            runtime = point.view.target.runtime
            detector = "boxes" in described.task.preprocessing
            script = run_script(packed=packed, runtime=runtime, detector=detector)
            (folder / "run.py").write_text(script, encoding="utf-8")
            (folder / "monitor.py").write_text(inspect.getsource(monitor), encoding="utf-8")
            _copy_imported(runtime, folder)
            listed = _checksums(folder).encode()
            (folder / CHECKSUMS).write_bytes(listed)
            if sign is not None:
                (folder / SIGNATURE).write_bytes(signed(listed, sign))
    except OSError as error:
        raise InputError(
            f"The bundle cannot be written to {out} ({error.strerror or error}): free space, or choose "
            "another --out."
        ) from error
    return out / name


def _model_name(point: PointOn, *, packed: bool) -> ModelName:
    if packed:
        return "model.packed"
    return model_name(point.view.target.runtime)


def require_free(out: Path) -> None:
    """InputError when a bundle cannot go to `out`, because something is there."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(
            f"{out} exists already and is not an empty directory: choose another one, or remove it."
        )


def _statistics(manifest: Manifest, run: Path | None) -> SampleStatistics | str:
    """What the run kept of its samples, or why there is nothing."""
    if run is None:
        return "the bundle was made without its run directory"
    names = {"inputs": manifest.inputs, "outputs": manifest.outputs}
    return StatisticsFolder.of_run(run).read(
        manifest.model.sha256, **{key: [one.name for one in tensors] for key, tensors in names.items()}
    )


def _copy_imported(runtime: str, folder: Path) -> None:
    """Copies the part of on_device/ that run.py imports, if it imports any."""
    for pattern in script_of(runtime).files:
        for path in sorted(WORKER.glob(pattern)):
            if path.is_file():
                copy = folder / WORKER.name / path.relative_to(WORKER)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


def _shipped_facts(facts: ModelFacts, model: bytes, file: Path) -> ModelFacts:
    """The facts of the measured model as those of the one that is shipped in `file`."""
    return replace(
        facts,
        sha256=hashlib.sha256(model).hexdigest(),
        size_bytes=len(model),
        measured_sha256=facts.sha256,
        measured_bytes=facts.size_bytes,
        packed_bytes=None if facts.packed_bytes is None else file.stat().st_size,
    )


def manifest_of(
    point: PointOn, artifact: Path, *, reference: ReferenceFacts | str, packed: bool = False
) -> Manifest:
    """What manifest.json says of the point and of `artifact`, the file that was measured."""
    view, original = point.view, point.view.baseline
    inputs, outputs = signature_of(artifact)
    return Manifest(
        trial=point.trial,
        model=ModelFacts(
            file=_model_name(point, packed=packed),
            sha256=point.artifact.digest,
            size_bytes=point.artifact.size_bytes,
            macs=point.artifact.macs,
            parameters=point.artifact.parameters,
            packed_bytes=point.artifact.size_bytes if packed else None,
        ),
        inputs=inputs,
        outputs=outputs,
        recipe=point.recipe,
        task=view.task,
        target=view.target,
        quality=point.quality,
        drop=point.drop,
        drop_interval=point.measured.drop_interval,
        latency=point.latency,
        original=OriginalFacts(
            validation=original.quality.validation,
            latency_s=original.latency.seconds,
            size_bytes=original.size_bytes,
        ),
        indistinguishable_from=point.indistinguishable_from,
        layers=point.layers,
        layer_times=LAYER_TIMES_NOTE,
        warnings=tuple(point.warnings),
        command=view.run.facts.command,
        reference=reference,
    )


def signature_of(artifact: Path) -> tuple[tuple[TensorFacts, ...], tuple[TensorFacts, ...]]:
    """The inputs and outputs of a model's file: a dynamic dimension is its name (or `dynamic`)."""
    import onnx

    if is_litert(artifact):
        inputs, outputs = (
            tuple(TensorFacts(name=name, shape=shape, dtype=dtype) for name, shape, dtype in side)
            for side in litert_signature(artifact)
        )
        return inputs, outputs
    graph = onnx.load(artifact, load_external_data=False).graph
    stored = {initializer.name for initializer in graph.initializer}
    taken = tuple(_tensor(value) for value in graph.input if value.name not in stored)
    return taken, tuple(_tensor(value) for value in graph.output)


def _tensor(value: Any) -> TensorFacts:
    import onnx

    tensor = value.type.tensor_type
    dimensions = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "dynamic" for dim in tensor.shape.dim
    ]
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError:
        dtype = f"type {tensor.elem_type}"
    return TensorFacts(name=value.name, shape=tuple(dimensions), dtype=dtype)


def _checksums(folder: Path) -> str:
    """The files that have to be there; the reference may be left out on a device."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stem != REFERENCE)
    return "".join(f"{digest_of_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def _pretty(manifest: Manifest) -> str:
    return json_text(manifest.to_json(), indent=2) + "\n"


@contextmanager
def _directory_becoming(out: Path) -> Iterator[Path]:
    """Yields a temporary directory beside `out` that takes its place at the end, or is removed on error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_in(out.parent) as folder:
        (folder / "bundle").mkdir(mode=0o755)
        yield folder / "bundle"
        (folder / "bundle").chmod(0o755)
        (folder / "bundle").rename(out)
