"""What is missing to use a target, or to trust its measurements, and how to mend it."""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..errors import StageError, TargetUnavailable
from ..profiles.address import TargetAddress
from ..profiles.environment import Environment
from ..profiles.profile import GPU_RUNTIMES, Profile
from .condition import EXACT_SUMS, condition_findings
from .doctor_board import board_findings
from .finding import Finding
from .here import require_here
from .lease import lease_folder
from .on_device.locks import VARIABLE
from .on_device.runtime import INSTALL
from .on_device.tensorrt_eight import OPSET, lines_for
from .target import Target

_EMULATED = Finding(
    name="processor",
    ok=False,
    detail="qemu imitates it: models can be run, but no latency will be measured",
    remedy="measure on the board itself",
)
_BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})  # the last is Arm's
_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


def doctor(profile: Profile, address: TargetAddress | None = None) -> list[Finding]:
    """All findings on a target, here or at `address`; those after a failed start are left out. Takes a few
    seconds: it measures.
    """
    if address is None or address.local:
        return _findings(profile)
    with closing(Target(profile, address=address)) as target:
        assert target.board is not None
        findings = board_findings(profile, target.board)
        return (
            findings
            if any(item.needed and not item.ok for item in findings)
            else findings + _started(profile, target)
        )


def _findings(profile: Profile) -> list[Finding]:
    try:
        require_here(profile)
    except TargetUnavailable as error:
        return [Finding(name="machine", ok=False, detail=str(error), remedy="", needed=True)]
    try:
        return _started(profile, Target(profile))
    except TargetUnavailable as error:
        return [_unusable(profile, error)]


def _started(profile: Profile, target: Target) -> list[Finding]:
    """What the worker of a target tells."""
    try:
        environment = target.probe()
    except TargetUnavailable as error:
        return [_unusable(profile, error)]
    runtime = f"{environment.runtime} {environment.runtime_version} on {environment.cpu_model}"
    started = Finding(name="runtime", ok=True, detail=runtime, needed=True)
    if environment.emulated:
        return [started, _EMULATED]
    if (unfit := _unfit_files(profile, environment)) is not None:
        return [started, *_circumstances(profile, environment), unfit]
    condition = condition_findings(profile, target.condition())
    here = [_peak_memory(environment), _lease()] if target.board is None else []
    control = [_control(target)] if all(item.ok or not item.needed for item in here) else []
    return [started, *_circumstances(profile, environment), *condition, *here, *control]


def _unusable(profile: Profile, error: TargetUnavailable) -> Finding:
    # the error is about the first it lacks
    library = f"{INSTALL[profile.runtime]}, on a machine with an NVIDIA GPU and its driver"
    remedy = library if profile.runtime in GPU_RUNTIMES else ""
    return Finding(name="runtime", ok=False, detail=str(error), remedy=remedy, needed=True)


def _gpu(environment: Environment) -> Finding:
    detail = f"{environment.device}: {environment.runtime} {environment.runtime_version}"
    return Finding(name="GPU", ok=True, detail=detail)


def _unfit_files(profile: Profile, environment: Environment) -> Finding | None:
    """Files that this TensorRT would read wrongly or refuse."""
    lines = lines_for(environment.runtime_version) if profile.runtime == "tensorrt" else None
    integers = "int8" in profile.precisions and profile.int8_weights == "int8"
    if lines is None or (profile.opset <= OPSET and not integers):
        return None
    return Finding(
        name="files",
        ok=False,
        detail=f"TensorRT 8 reads opset {OPSET} and int8 weights in float32; this target has opset {profile.opset}"
        + " and weights in int8" * integers,
        remedy=f"say {lines} in a TOML file that inherits from '{profile.name}', and use that target",
        needed=True,
    )


def _int8_kernels(profile: Profile, environment: Environment) -> Finding:
    found = sorted(_INT8_FLAGS & set(environment.flags))
    slow = "expect little or no speed from int8 here; it still saves size"
    if profile.runtime_options.get(EXACT_SUMS) == "1":
        slow = "int8 sums are exact all the same, which takes time: expect little speed from int8 here; it still saves size"
    elif "avx2" in environment.flags:
        slow = "int8 sums saturate here, which costs quality; those of 6 bits do not, nor do those of target cpu-avx2, slower"
    return Finding(
        name="int8 kernels",
        ok=bool(found),
        detail=f"dot products in hardware: {', '.join(found)}"
        if found
        else "the CPU has no int8 dot products",
        remedy="" if found else slow,
    )


def _bfloat16(environment: Environment) -> Finding:
    found = sorted(_BFLOAT16_FLAGS & set(environment.flags))
    return Finding(
        name="bfloat16 kernels",
        ok=bool(found),
        detail=f"products in hardware: {', '.join(found)}"
        if found
        else "the CPU has neither AMX nor AVX512_BF16",
        remedy=""
        if found
        else "OpenVINO leaves float32 layers in float32 then: the same as target cpu-openvino",
    )


def _circumstances(profile: Profile, environment: Environment) -> Iterator[Finding]:
    """What the machine says of itself."""
    yield _gpu(environment) if environment.runtime in GPU_RUNTIMES else _int8_kernels(profile, environment)
    if profile.runtime_options.get("INFERENCE_PRECISION_HINT") == "bf16":
        yield _bfloat16(environment)
    steady = (
        environment.governor in (None, "performance", "fixed") or environment.power_mode is not None
    )  # see condition.py
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


def _peak_memory(environment: Environment) -> Finding:
    """Whether this machine tells it."""
    on_gpu = environment.runtime in GPU_RUNTIMES
    peak = on_gpu or Path("/proc/self/clear_refs").exists()
    return Finding(
        name="peak memory",
        ok=peak,
        detail="the device's own"
        if on_gpu
        else "read from /proc"
        if peak
        else "this system has no /proc/self/clear_refs",
        remedy="" if peak else "peak memory will be coarse or missing; use Linux to measure it",
    )


def _lease() -> Finding:
    try:
        return Finding(name="lease", ok=True, detail=f"locks in {lease_folder()}")
    except TargetUnavailable as error:
        return Finding(
            name="lease",
            ok=False,
            detail=str(error),
            remedy=f"export {VARIABLE}=FOLDER, one of your own",
            needed=True,
        )


def _control(target: Target) -> Finding:
    """An A/A measurement of a small convolution, about a millisecond long."""
    with tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        path = Path(folder) / "control.onnx"
        onnx.save(_convolution(), path)
        try:
            seen = target.control(path)
        except (StageError, TargetUnavailable) as error:
            return Finding(
                name="A/A control", ok=False, detail=str(error), remedy="end other work on this machine"
            )
    return Finding(
        name="A/A control", ok=True, detail=f"a model beside itself took {seen.ratio:.4f} times as long"
    )


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
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
