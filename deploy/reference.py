"""What a bundle's latency is compared with, so that `verify BUNDLE` compares ratios and not hours.

It is the original's file, `reference.onnx` (or `.tflite`), beside which the search measured the model. An
original larger than `LARGEST_BYTES` is not copied into the bundle: the model is measured once more, where the
target is this machine, beside a small workload that is made from nothing but the model's inputs: products of
matrices whose numbers come from the first input. `verify` makes the same file again, and knows it by its
digest.

run.py does not need the reference: the reference may be left out on a device.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import AutocompressError, InputError, RunDirectoryError
from ..evaluation.targets import load_targets
from ..files import digest_of_file, file_below
from ..profiles import FINALIST_TIMING
from ..profiles.runtimes import Container
from ..results.records.latency import Latency, Predicted
from ..results.records.manifest import ReferenceFacts, TensorFacts
from ..results.view import PointOn
from ..targets.control import patiently
from ..targets.model_files.container import contained
from ..targets.model_files.one_file import require_whole
from .asked_targets import address_in, is_here
from .verify import Say, usable_target

STEM = "reference"
LARGEST_BYTES = 32 << 20  # of an original that a bundle carries
SIDE, PRODUCTS = 256, 8  # of the workload's matrices


def reference_of(
    point: PointOn,
    artifact: Path,
    original: Path | None,
    bundle: Path,
    inputs: tuple[TensorFacts, ...],
    *,
    note: Say,
) -> ReferenceFacts | str:
    """The reference of a point, or why it has none. `artifact` is its file; `original`, if it is there, is
    copied to `bundle`. RunDirectoryError when the original's is another file.
    """
    latency, facts = point.latency, point.view.baseline.artifact
    if isinstance(latency, Predicted):
        return "its latency is predicted, not measured"
    if facts.size_bytes > LARGEST_BYTES:
        return _beside_workload(point, artifact, bundle, inputs, note=note)
    if original is None or not original.is_file():
        return "the original's file was gone when the bundle was written"
    if digest_of_file(original) != facts.digest:
        raise RunDirectoryError(
            f"{original} is not the original that was measured: its SHA-256 is not that of the run. "
            "Search again to rebuild it, or remove it: the bundle then has no reference."
        )
    shutil.copyfile(original, bundle / f"{STEM}{original.suffix}")
    return ReferenceFacts(
        kind="original",
        sha256=facts.digest,
        size_bytes=facts.size_bytes,
        ratio=latency.ratio,
        ratio_interval=latency.ratio_interval,
    )


def _beside_workload(
    point: PointOn, artifact: Path, bundle: Path, inputs: tuple[TensorFacts, ...], *, note: Say
) -> ReferenceFacts | str:
    """The point measured now beside the workload, or why it is not."""
    name, container = point.view.target.name, point.view.target.container
    file = bundle / f"workload.{container}"
    large = f"the original has more than {LARGEST_BYTES >> 20} MB"
    if not is_here(address_in(name)):
        return f"{large}, and its target '{name}' is not this machine, where a workload could be measured"
    try:
        file.write_bytes(contained(workload(inputs), container))
        timing = FINALIST_TIMING.with_batch(point.view.target.batch)
        (named,) = load_targets(name)
        with usable_target(named, None, inputs=None).session() as session:
            seen = Latency.of(patiently(lambda: session.measure(artifact, file, timing), note))
        digest, size_bytes = digest_of_file(file), file.stat().st_size
    except AutocompressError as error:
        return f"{large}, and nothing was measured beside a workload: {error}"
    finally:
        file.unlink(missing_ok=True)
    return ReferenceFacts(
        kind="workload",
        sha256=digest,
        size_bytes=size_bytes,
        ratio=seen.ratio,
        ratio_interval=seen.ratio_interval,
    )


def reference_file(
    bundle: Path,
    facts: ReferenceFacts,
    inputs: tuple[TensorFacts, ...],
    folder: Path,
    *,
    container: Container = "onnx",
) -> Path | str:
    """The reference's file, in the bundle or made again in `folder`; or why there is none now. InputError
    when it is another file.
    """
    if facts.kind == "workload":
        file = folder / f"workload.{container}"
        file.write_bytes(contained(workload(inputs), container))
        same = digest_of_file(file) == facts.sha256
        return file if same else "this version of autocompress makes another workload than the bundle's"
    name = f"{STEM}.{container}"
    if not (bundle / name).exists():
        return f"its {name} was left out"
    file = file_below(bundle, name)
    if file.stat().st_size != facts.size_bytes or digest_of_file(file) != facts.sha256:
        raise InputError(f"{file} is not the reference that was bundled: copy the bundle again.")
    require_whole(file)
    return file


def workload(inputs: tuple[TensorFacts, ...]) -> onnx.ModelProto:
    """The workload for a model with these inputs: PRODUCTS products of SIDE × SIDE matrices, the same bytes
    each time it is written.
    """
    taken = [
        helper.make_tensor_value_info(
            tensor.name, helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), list(tensor.shape)
        )
        for tensor in inputs
    ]
    first = inputs[0].name
    numbers = (np.arange(SIDE * SIDE, dtype=np.uint64) * 2654435761 >> 8) % 65536
    weights = (numbers.reshape(SIDE, SIDE).astype(np.float32) + 1) / np.float32(2**24)
    nodes = [
        helper.make_node("Cast", [first], ["reference_cast"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["reference_cast"], ["reference_max"], keepdims=0),
        helper.make_node("Mul", ["reference_weights", "reference_max"], ["reference_0"]),
    ]
    for number in range(PRODUCTS):
        names = [f"reference_{number}", "reference_weights"]
        nodes.append(helper.make_node("MatMul", names, [f"reference_{number + 1}"]))
    graph = helper.make_graph(
        nodes,
        "reference",
        taken,
        [helper.make_tensor_value_info(f"reference_{PRODUCTS}", TensorProto.FLOAT, [SIDE, SIDE])],
        [numpy_helper.from_array(weights, "reference_weights")],
    )
    model = helper.make_model(
        graph, producer_name="autocompress", opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.checker.check_model(model)
    return model
