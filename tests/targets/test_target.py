"""A target measures once, refers all candidates to one baseline latency, and says what is missing."""

import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from autocompress.errors import InputError, ProfileError, StageError, TargetUnavailable
from autocompress.files import digest_of_file
from autocompress.profiles import load_profile
from autocompress.targets.doctor import doctor
from autocompress.targets.on_device.locks import VARIABLE
from autocompress.targets.protocol import measure_model, parse_shape
from autocompress.targets.runtimes import doctor_of
from autocompress.targets.store import MeasurementStore
from autocompress.targets.target import Target, default_cores
from autocompress.targets.transport import LastingWorker, LocalTransport
from autocompress.tests.profiles.records import ENVIRONMENT
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK
from autocompress.tests.waiting import comes_true, cpu_s

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Collects (model, baseline) file names of every measurement that a worker takes."""
    seen: list[tuple[str, str]] = []
    send: Callable[..., dict[str, Any]] = LocalTransport.send

    def recording(self: LocalTransport, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        if request["op"] == "measure":
            seen.append((Path(request["model"]).name, Path(request["baseline"]).name))
        return send(self, request, timeout_s=timeout_s)

    monkeypatch.setattr(LocalTransport, "send", recording)
    return seen


def two_models(folder: Path) -> tuple[Path, Path]:
    return models.chain(folder / "base.onnx", layers=2), models.chain(folder / "small.onnx", layers=1)


def test_an_identical_artifact_is_never_measured_twice(
    tmp_path: Path, measured: list[tuple[str, str]]
) -> None:
    base, small = two_models(tmp_path)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(small.read_bytes())
    store = MeasurementStore(tmp_path / "m.db")
    results = []
    for model, target in (
        (small, Target(load_profile("cpu"), store)),
        (copy, Target(load_profile("cpu"), store)),
    ):
        with target.session() as session:
            results.append(session.measure(model, base, QUICK))
    assert results[0] == results[1]
    assert measured == [("base.onnx", "base.onnx"), ("small.onnx", "base.onnx")]


def test_the_first_control_is_the_baselines_own_measurement(
    tmp_path: Path, measured: list[tuple[str, str]]
) -> None:
    base, _ = two_models(tmp_path)
    with Target(load_profile("cpu"), MeasurementStore(tmp_path / "m.db")).session() as session:
        seen = session.measure(base, base, QUICK)
    assert measured == [("base.onnx", "base.onnx")]
    assert seen.artifact_digest == seen.baseline_digest == digest_of_file(base)


def test_all_candidates_of_a_run_refer_to_one_baseline_latency_across_restarts(tmp_path: Path) -> None:
    base, small = two_models(tmp_path)
    third = models.chain(tmp_path / "third.onnx", layers=3)
    references = set()
    for model in (small, third):
        with Target(load_profile("cpu"), MeasurementStore(tmp_path / "m.db")).session() as session:
            references.add(session.measure(model, base, QUICK).baseline_reference_s)
    assert len(references) == 1


def test_a_failing_control_fails_the_candidate_as_noisy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", -1.0)
    monkeypatch.setattr("autocompress.targets.control.PAUSES_S", (0.0, 0.0))
    base, small = two_models(tmp_path)
    with Target(load_profile("cpu")).session() as session, pytest.raises(StageError) as failure:
        session.measure(small, base, QUICK)
    assert (failure.value.stage, failure.value.kind, failure.value.retryable) == ("measure", "noisy", True)


def test_a_target_probes_its_environment_once(tmp_path: Path) -> None:
    target = Target(load_profile("cpu"))
    environment = target.probe()
    assert target.probe() is environment
    assert (environment.threads, environment.cores) == (1, target.cores)


def test_a_device_that_changed_since_it_was_asked_is_unavailable_and_its_measurement_is_not_kept(
    tmp_path: Path,
) -> None:
    base, small = two_models(tmp_path)
    target = Target(load_profile("cpu"))
    target._environment = replace(target.probe(), power_mode="25W")
    with (
        target.session() as session,
        pytest.raises(TargetUnavailable, match="power_mode was '25W' and is None"),
    ):
        session.measure(small, base, QUICK)


def test_too_few_cores_make_a_target_unavailable(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    (tmp_path / "many.toml").write_text(f'inherits = "cpu"\nthreads = {cores + 1}')
    with pytest.raises(TargetUnavailable, match=f"needs {cores + 1} cores"):
        Target(load_profile(str(tmp_path / "many.toml")))
    assert default_cores(1) == (max(os.sched_getaffinity(0)),)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs 2 cores")
def test_two_threads_are_timed_by_the_wall_clock(tmp_path: Path) -> None:
    base, small = two_models(tmp_path)
    with Target(load_profile("cpu-2t")).session() as session:
        seen = session.measure(small, base, QUICK)
    assert (seen.timer, seen.environment.threads, len(seen.environment.cores)) == ("wall", 2, 2)
    blocks = [
        own / wall
        for pair in seen.pairs
        for own, wall in zip(pair.candidate_s, pair.candidate_wall_s, strict=True)
    ]
    assert statistics.median(blocks) == pytest.approx(1, rel=0.05)


def test_a_block_during_which_the_worker_was_frozen_is_measured_again(tmp_path: Path) -> None:
    base, small = two_models(tmp_path)
    target = Target(load_profile("cpu"))
    long = replace(QUICK, pairs_min=6, pairs_max=6, pair_s=0.2, half_width=1e-9)
    with target.open_worker() as worker:
        worker.send({"op": "probe"}, timeout_s=60)
        assert isinstance(worker, LastingWorker) and isinstance(worker._worker, LocalTransport)
        pid = worker._worker._process.pid
        before = cpu_s(pid)

        def freeze() -> None:
            assert comes_true(lambda: cpu_s(pid) - before > 0.4)
            os.kill(pid, signal.SIGSTOP)
            over = time.monotonic() + 2.0
            assert comes_true(lambda: time.monotonic() > over)
            os.kill(pid, signal.SIGCONT)

        thread = threading.Thread(target=freeze)
        thread.start()
        seen = target.measure_once(worker, small, base, timing=long, digests=("s", "b"))
        thread.join()
    blocks = [wall for pair in seen.pairs for wall in (*pair.baseline_wall_s, *pair.candidate_wall_s)]
    assert max(blocks) / statistics.median(blocks) * QUICK.block_s < 1.0, "seconds of the longest block"


def test_any_model_is_measured_beside_itself_or_a_baseline(tmp_path: Path) -> None:
    base, small = two_models(tmp_path)
    target = Target(load_profile("cpu"))
    assert measure_model(small, target, baseline=base, timing=QUICK).baseline_digest == digest_of_file(base)
    alone = measure_model(small, target, timing=QUICK, batch=2)
    assert alone.baseline_digest == alone.artifact_digest and alone.timing.batch == 2


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx does not exist"):
        measure_model(tmp_path / "none.onnx", Target(load_profile("cpu")))


def test_a_shape_of_an_input_that_the_model_lacks_is_refused_before_anything_runs(tmp_path: Path) -> None:
    model = models.linear(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="the input 'image', which the model does not have: choose x"):
        measure_model(model, Target(load_profile("cpu"), shapes={"image": [1, 8]}))


def test_shapes_are_parsed_or_refused() -> None:
    assert parse_shape("x=1,3,32") == ("x", (1, 3, 32))
    for text in ("x", "x=", "=1,2", "x=1,a", "x=0"):
        with pytest.raises(InputError, match="x=1,3,32,32"):
            parse_shape(text)


def test_the_doctor_checks_runtime_machine_and_noise() -> None:
    findings = {finding.name: finding for finding in doctor(load_profile("cpu"))}
    checked = [
        name for name in findings if name not in ("temperature", "throttling")
    ]  # which not every machine tells
    assert checked == [
        "runtime",
        "int8 kernels",
        "clock",
        "load",
        "energy",
        "peak memory",
        "lease",
        "A/A control",
    ]
    assert findings["runtime"].ok and findings["A/A control"].ok
    assert all(finding.ok or finding.remedy for finding in findings.values())


def test_a_machine_whose_locks_cannot_be_made_cannot_be_measured_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing"))
    last = doctor(load_profile("cpu"))[-1]
    assert (last.name, last.ok, last.needed) == ("lease", False, True) and VARIABLE in last.remedy
    assert (
        f"{tmp_path}/missing/autocompress-{os.getuid()} cannot be made (No such file or directory)"
        in last.detail
    )


def test_the_doctor_says_how_to_mend_a_target_that_cannot_start() -> None:
    (finding,) = doctor(replace(load_profile("cpu"), threads=10_000))
    assert not finding.ok and "choose a target with fewer threads" in finding.detail and finding.remedy == ""


@pytest.mark.parametrize(
    ("name", "version", "warned"),
    [
        ("cpu", "1.22.1", True),
        ("cpu", "1.23.0", False),
        ("cpu", "2.0", False),
        ("cpu-openvino", "1.0", False),
    ],
)
def test_the_doctor_says_that_a_runtime_is_too_old_for_fused_operators(
    name: str, version: str, warned: bool
) -> None:
    profile, machine = load_profile(name), replace(ENVIRONMENT, runtime_version=version)
    findings = [
        finding
        for finding in doctor_of(profile.runtime).findings(profile, machine)
        if finding.name == "fused operators"
    ]
    assert bool(findings) == warned
    assert all(not one.ok and "fused_operators = false" in one.remedy for one in findings)


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        ("cpu", ["avx2"], {"int8 kernels": "int8 sums saturate here"}),
        ("cpu-avx2", ["avx2"], {"int8 kernels": "int8 sums are exact"}),
        ("cpu", ["avx2", "avx512_vnni"], {}),
        ("cpu-openvino-bf16", ["avx512_vnni"], {"bfloat16 kernels": "leaves float32 layers in float32"}),
        ("cpu-openvino-bf16", ["avx512_vnni", "avx512_bf16"], {}),
    ],
)
def test_the_doctor_says_what_the_cpu_lacks_for_the_target(
    name: str, flags: list[str], told: dict[str, str]
) -> None:
    profile, machine = load_profile(name), replace(ENVIRONMENT, flags=tuple(flags))
    kernels = {
        finding.name: finding.remedy
        for finding in doctor_of(profile.runtime).findings(profile, machine)
        if finding.name.endswith("kernels")
    }
    assert {"int8 kernels"} <= set(kernels)
    assert all(
        told.get(item, "") in remedy and bool(remedy) == (item in told) for item, remedy in kernels.items()
    )


def test_a_profile_error_is_bad_input() -> None:
    assert issubclass(ProfileError, InputError)
