"""doctor: all findings on a target, from its connection to an A/A control."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...errors import InputError, StageError, TargetUnavailable
from ...profiles.address import TargetAddress
from ...profiles.environment import Environment
from ...profiles.profile import Profile
from ...scratch import temporary_folder
from ..here import require_here
from ..lease import lease_folder
from ..model_files.container import contained
from ..on_device.locks import VARIABLE
from ..on_device.runtimes.finding import Finding
from ..on_device.runtimes.listed import install_hint
from ..pool.boards import boards_at
from ..runtimes import doctor_of
from ..target import Target
from .board import board_findings
from .condition import condition_findings

_EMULATED = Finding(
    name="processor",
    ok=False,
    detail="qemu imitates it: models can be run, but no latency will be measured",
    remedy="measure on the board itself",
)


def doctor(profile: Profile, address: TargetAddress | None = None) -> list[Finding]:
    """All findings on a target, here or at `address`; those after a failed start are left out. Takes a few
    seconds: it measures.
    """
    if address is None or address.local:
        return _findings(profile)
    if address.others:
        each = chain.from_iterable(_of_one(profile, board) for board in address.boards)
        return [*each, _of_one_kind(profile, address)]
    with closing(Target(profile, address=address)) as target:
        assert target.board is not None
        findings = board_findings(profile, target.board)
        if not any(map(_forbids, findings)):
            findings += _started(profile, target)
        return findings


def _of_one(profile: Profile, address: TargetAddress) -> list[Finding]:
    """The findings on one of several boards, each with its place."""
    return [replace(finding, name=f"{address.place}: {finding.name}") for finding in doctor(profile, address)]


def _of_one_kind(profile: Profile, address: TargetAddress) -> Finding:
    """Whether several boards are of one kind: their environments, and a small convolution on each."""
    with temporary_folder() as folder, closing(boards_at(profile, address)) as boards:
        try:
            ratios = boards.compared(_control_file(profile, folder))
        except (InputError, StageError, TargetUnavailable) as error:
            return Finding(name="boards", ok=False, detail=str(error), needed=isinstance(error, InputError))
    told = ", ".join(f"{ratio:.3f} times as long on {name}" for name, ratio in ratios.items())
    detail = f"of one kind: a model takes {told} as on {address.boards[0].place}"
    return Finding(name="boards", ok=True, detail=detail, needed=True)


def _forbids(finding: Finding) -> bool:
    """Whether the target cannot be used."""
    return finding.needed and not finding.ok


def _findings(profile: Profile) -> list[Finding]:
    try:
        require_here(profile)
    except TargetUnavailable as error:
        return [Finding(name="machine", ok=False, detail=str(error), needed=True)]
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
    of_runtime = list(doctor_of(profile.runtime).findings(profile, environment))
    usable = [finding for finding in of_runtime if not _forbids(finding)]
    findings = [started, *usable, *_circumstances(environment)]
    if len(usable) < len(of_runtime):
        return findings + [finding for finding in of_runtime if _forbids(finding)]
    findings += condition_findings(profile, target.condition())
    findings.append(_energy(target))
    here = [_peak_memory(profile), _lease()] if target.board is None else []
    control = [] if any(map(_forbids, here)) else [_control(target)]
    return [*findings, *here, *control]


def _unusable(profile: Profile, error: TargetUnavailable) -> Finding:
    # without a GPU the error is about that alone
    library = f"{install_hint(profile.runtime)}, on a machine with an NVIDIA GPU and its driver"
    remedy = library if profile.facts.gpu else ""
    return Finding(name="runtime", ok=False, detail=str(error), remedy=remedy, needed=True)


def _circumstances(environment: Environment) -> Iterator[Finding]:
    """What the machine says of its clock and its load."""
    steady = environment.governor in (None, "performance", "fixed")
    steady = steady or environment.power_mode is not None  # see condition.py
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


def _peak_memory(profile: Profile) -> Finding:
    """Whether this machine tells it."""
    if profile.facts.gpu:
        return Finding(name="peak memory", ok=True, detail="the device's own")
    if Path("/proc/self/clear_refs").exists():
        return Finding(name="peak memory", ok=True, detail="read from /proc")
    remedy = "peak memory will be coarse or missing; use Linux to measure it"
    detail = "this system has no /proc/self/clear_refs"
    return Finding(name="peak memory", ok=False, detail=detail, remedy=remedy)


def _energy(target: Target) -> Finding:
    """Whether a sensor counts energy there. None is needed: a search goes without."""
    answer = target.energy_sensor()
    if answer["sensor"]:
        return Finding(name="energy", ok=True, detail=answer["sensor"])
    if answer["remedy"]:
        return Finding(name="energy", ok=False, detail=answer["problem"], remedy=answer["remedy"])
    return Finding(name="energy", ok=True, detail="no sensor: it is not told, and never estimated")


def _lease() -> Finding:
    try:
        return Finding(name="lease", ok=True, detail=f"locks in {lease_folder()}")
    except TargetUnavailable as error:
        remedy = f"export {VARIABLE}=FOLDER, one of your own"
        return Finding(name="lease", ok=False, detail=str(error), remedy=remedy, needed=True)


def _control(target: Target) -> Finding:
    """An A/A measurement of a small convolution, about a millisecond long."""
    with temporary_folder() as folder:
        try:
            path = _control_file(target.profile, folder)
            measurement = target.control(path)
        except InputError as error:  # what writes the file is missing on this machine
            return Finding(name="A/A control", ok=False, detail=str(error), needed=True)
        except (StageError, TargetUnavailable) as error:
            remedy = "end other work on this machine"
            return Finding(name="A/A control", ok=False, detail=str(error), remedy=remedy)
    detail = f"a model beside itself took {measurement.ratio:.4f} times as long"
    return Finding(name="A/A control", ok=True, detail=detail)


def _control_file(profile: Profile, folder: Path) -> Path:
    container = profile.facts.container
    path = folder / f"control.{container}"
    path.write_bytes(contained(_convolution(), container))
    return path


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
