"""What is missing to use a target, or to trust its measurements, and how to mend it."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import StageError, TargetUnavailable
from ..profiles.environment import Environment
from ..profiles.profile import GPU_RUNTIMES, Profile
from .lease import lease_folder
from .target import Target

_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was looked at, what was seen, and, if it is not well, what mends it."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def doctor(profile: Profile) -> list[Finding]:
    """All findings on a target; those after a failed start are left out. Takes a few seconds: it measures a little."""
    try:
        target = Target(profile)
        environment = target.probe()
    except TargetUnavailable as error:
        remedy = f"pip install {profile.runtime} numpy, on a machine with at least {profile.threads} cores"
        return [Finding(name="runtime", ok=False, detail=str(error), remedy=remedy)]
    runtime = f"{environment.runtime} {environment.runtime_version} on {environment.cpu_model}"
    return [Finding(name="runtime", ok=True, detail=runtime), *_circumstances(environment), _lease(), _control(target)]


def _circumstances(environment: Environment) -> Iterator[Finding]:
    """What the machine says of itself."""
    on_gpu = environment.runtime in GPU_RUNTIMES
    if on_gpu:
        yield Finding(name="GPU", ok=True, detail=f"{environment.device}: {environment.runtime} {environment.runtime_version}")
    else:
        found = sorted(_INT8_FLAGS & set(environment.flags))
        yield Finding(
            name="int8 kernels",
            ok=bool(found),
            detail=f"dot products in hardware: {', '.join(found)}" if found else "the CPU has no int8 dot products",
            remedy="" if found else "expect little or no speed from int8 here; it still saves size",
        )
    steady = environment.governor in (None, "performance")
    yield Finding(
        name="clock",
        ok=steady,
        detail=f"governor {environment.governor or 'not shown by this machine'}",
        remedy="" if steady else "sudo cpupower frequency-set -g performance",
    )
    load, limit = environment.load_1m, 0.5 * len(environment.cores)
    quiet = load is None or load <= limit
    yield Finding(
        name="load",
        ok=quiet,
        detail=f"1-minute load {load:.2f}" if load is not None else "load not shown by this machine",
        remedy="" if quiet else f"end other work until `uptime` shows a load below {limit:g}",
    )
    peak = on_gpu or Path("/proc/self/clear_refs").exists()
    yield Finding(
        name="peak memory",
        ok=peak,
        detail="the device's own" if on_gpu else "read from /proc" if peak else "this system has no /proc/self/clear_refs",
        remedy="" if peak else "peak memory will be coarse or missing; use Linux to measure it",
    )


def _lease() -> Finding:
    try:
        return Finding(name="lease", ok=True, detail=f"locks in {lease_folder()}")
    except TargetUnavailable as error:
        return Finding(name="lease", ok=False, detail=str(error), remedy="set TMPDIR to a folder of your own")


def _control(target: Target) -> Finding:
    """An A/A measurement of a small convolution, about a millisecond long."""
    with tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        path = Path(folder) / "control.onnx"
        onnx.save(_convolution(), path)
        try:
            seen = target.control(path)
        except StageError as error:
            return Finding(name="A/A control", ok=False, detail=str(error), remedy="end other work on this machine")
    return Finding(name="A/A control", ok=True, detail=f"a model beside itself took {seen.ratio:.4f} times as long")


def _convolution() -> onnx.ModelProto:
    """A convolution of 64 to 64 channels, 3×3, on 28×28 pixels; batch is dynamic."""
    weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "conv.weight"], ["y"], pads=[1, 1, 1, 1])],
        "control",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 64, 28, 28])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 64, 28, 28])],
        [numpy_helper.from_array(weight, "conv.weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
