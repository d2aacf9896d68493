"""TensorRT in real worker processes, on a fake GPU: what a real one cannot be made to do. tests/contract has
the rest.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autocompress.errors import InputError, TargetUnavailable
from autocompress.profiles import load_profile
from autocompress.targets.doctor import doctor
from autocompress.targets.on_device import timing
from autocompress.targets.on_device.runtimes.tensorrt_gpu import cache as tensorrt_cache
from autocompress.targets.target import Target
from autocompress.tests.targets import models
from autocompress.tests.targets.gpu import fake_driver, kept_engines, use_fake_gpu
from autocompress.tests.targets.models import QUICK
from onnx import TensorProto, helper

pytestmark = pytest.mark.usefixtures("quiet_machine")
THREE_BUILDS = replace(QUICK, pairs_min=4, pairs_max=4, engine_builds=3)
Opener = Callable[..., Target]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def target(driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """A function from a version to a target whose workers have it; engines are kept in tmp_path/cache."""

    def opened(version: str = "10.3.0", **options) -> Target:
        use_fake_gpu(monkeypatch, driver=driver, cache=tmp_path / "cache", version=version)
        return Target(replace(load_profile("gpu-rtx" if version == "rtx" else "gpu"), **options))

    return opened


def tactics(tmp_path: Path) -> list[str]:
    """What each kept engine's build chose: the second line of the file, behind what is known of it."""
    heads = [path.read_bytes().split(b"\n")[1] for path in kept_engines(tmp_path / "cache")]
    return [json.loads(head[len(b"fake-engine ") :])["tactic"] for head in heads]


def test_before_strong_typing_the_flags_are_those_that_the_model_needs(
    target: Opener, tmp_path: Path
) -> None:
    with target("8.6.1").session() as session:
        whole = session.measure(
            models.mixed_precisions(tmp_path / "m.onnx"), models.chain(tmp_path / "b.onnx", layers=1), QUICK
        )
        plain = session.measure(
            models.chain(tmp_path / "p.onnx", layers=2), models.chain(tmp_path / "b.onnx", layers=1), QUICK
        )
    assert whole.details["flags"] == ["SPARSE_WEIGHTS", "INT8", "FP16", "OBEY_PRECISION_CONSTRAINTS"]
    assert plain.details["flags"] == ["SPARSE_WEIGHTS"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fp16": "1"}, "no runtime option 'fp16'"),
        (
            {"builder_optimization_level": "high"},
            "builder_optimization_level = 'high' must be a whole number",
        ),
        ({"tf32": "yes"}, 'tf32 = \'yes\' must be "0" or "1"'),
    ],
)
def test_an_option_that_does_not_exist_or_fit_is_refused(
    target: Opener, tmp_path: Path, options: dict, message: str
) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    with target(runtime_options=options).session() as session, pytest.raises(InputError, match=message):
        session.measure(model, model, QUICK)


def test_the_timing_cache_makes_builds_choose_the_same_tactics(target: Opener, tmp_path: Path) -> None:
    model, seen = models.linear(tmp_path / "m.onnx"), []
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), np.float32))
    for _ in range(2):
        with target().session() as session:
            session.run(model, x, batch=2)
        seen += tactics(tmp_path)
        kept_engines(tmp_path / "cache")[0].unlink()
    assert seen[0] == seen[1]
    assert (tmp_path / "cache" / "autocompress" / "tensorrt" / "timing-Fake_GPU_24SM-10.3.0.bin").is_file()


def test_pairs_take_the_builds_in_turn() -> None:
    opened = []

    class Bound:
        def once(self):
            return 1e-3

        def block(self, count):
            return 1e-3, 1e-3, [1e-3]

    class Runtime:
        def open_session(self, model, request):
            opened.append(request["engine_build"])
            return self

        def bind(self, feeds):
            return Bound()

    request = {"timing": asdict(THREE_BUILDS), "critical": [], "baseline": "b", "model": "m"}
    runtime: Any = Runtime()
    for number in range(4):
        timing.measure_pair(runtime, request, [[(1.0, {})], [(1.0, {})]], number=number)
    assert opened == [0, 0, 1, 1, 2, 2, 0, 0]


def test_a_model_that_cannot_be_captured_is_timed_without_a_graph(
    target: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CUDA_CAPTURE", "fail")
    model = models.chain(tmp_path / "m.onnx", layers=1)
    with target().session() as session:
        measurement = session.measure(model, model, QUICK)
    assert not measurement.details["cuda_graph"]
    assert measurement.latency_s > 0


def test_further_dimensions_are_those_of_the_stored_samples(target: Opener, tmp_path: Path) -> None:
    model = models.save(
        tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["batch", "length"]}
    )
    x = np.ones((5, 12), np.float32)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "0.npy", x)
    with target().session() as session:
        for inputs in (models.samples(tmp_path / "x.npz", x), tmp_path / "folder"):
            (y,) = session.run(model, inputs, batch=2)
            np.testing.assert_array_equal(y, x)


def test_inputs_and_outputs_are_in_the_models_order_whatever_the_engines_is(
    target: Opener, tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Relu", ["difference"], ["positive"]),
    ]
    names = ("a", "b", "difference", "positive")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in names]
    graph = helper.make_graph(nodes, "g", tensors[:2], tensors[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    a, b = np.full((2, 4), 1, np.float32), np.full((2, 4), 3, np.float32)
    with target().session() as session:
        difference, positive = session.run(
            tmp_path / "m.onnx", models.samples(tmp_path / "x.npz", a, b), batch=2
        )
    np.testing.assert_array_equal(difference, -2)
    np.testing.assert_array_equal(positive, 0)


def test_a_damaged_engine_is_built_again(target: Opener, tmp_path: Path) -> None:
    model = models.linear(tmp_path / "m.onnx")
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), np.float32))
    with target().session() as session:
        session.run(model, x, batch=2)
    (path,) = kept_engines(tmp_path / "cache")
    whole = path.read_bytes()
    for damaged in (
        whole[:-100],
        whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        b"[]\n",
        b"[" * 10**5,
    ):
        path.write_bytes(damaged)
        with target().session() as session:
            (y,) = session.run(model, x, batch=2)
        np.testing.assert_array_equal(y, 1)
        assert path.read_bytes() != damaged


def test_the_engines_that_were_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tensorrt_cache, "LIMIT_BYTES", 800)
    facts = tensorrt_cache.EngineFacts(build_s=1.0, flags=[], engine_bytes=80, inputs=[], outputs=[])
    for number, key in enumerate("abcd"):
        tensorrt_cache.keep_engine(key, b"x" * 80, facts)
        os.utime(kept_engines(tmp_path / "cache")[-1], (number, number))
    assert [path.stem for path in kept_engines(tmp_path / "cache")] == ["b", "c", "d"]
    assert tensorrt_cache.load_engine("a") is None


def test_kernels_compiled_for_rtx_are_kept(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    with target("rtx").session() as session:
        session.measure(model, model, QUICK)
    blob = tmp_path / "cache" / "autocompress" / "tensorrt" / "runtime-Fake_GPU_24SM-1.7.1.bin"
    assert json.loads(blob.read_bytes()) == tactics(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"FAKE_CUDA_DEVICES": "0"}, "finds no GPU.*choose a target of the CPU"),
        ({"FAKE_CUDA_INIT": "100"}, "no CUDA-capable device is detected.*choose a target of the CPU"),
        ({"FAKE_CUDA_CONTEXT": "2"}, "Fake GPU cannot be used now .*out of memory.*end what else runs on it"),
        ({"FAKE_TENSORRT_START": "fail"}, "does not start: CUDA initialization failure with error: 35"),
    ],
    ids=["no device", "no cuInit", "full", "unfit"],
)
def test_a_driver_that_does_not_serve_makes_the_target_unavailable(
    target: Opener, monkeypatch: pytest.MonkeyPatch, setting: dict, message: str
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TargetUnavailable, match=message):
        target().probe()


def test_a_library_that_lacks_a_part_makes_the_target_unavailable(
    target: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = target()
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(TargetUnavailable, match=r"cannot open shared object file.*Install it there"):
        subject.probe()


def test_an_engine_of_a_gpu_with_fewer_processors_is_not_used(
    target: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = (
        models.linear(tmp_path / "m.onnx"),
        models.samples(tmp_path / "x.npz", np.ones((2, 8), np.float32)),
    )
    for processors in ("8", "16"):  # an Orin Nano and an AGX Orin have one name
        monkeypatch.setenv("FAKE_CUDA_PROCESSORS", processors)
        with target().session() as session:
            session.run(model, x, batch=2)
    assert len(kept_engines(tmp_path / "cache")) == 2


@pytest.mark.parametrize("found", [b"of another driver", b"damaged"])
def test_a_timing_cache_that_cannot_be_used_is_begun_anew(
    target: Opener, tmp_path: Path, found: bytes
) -> None:
    model, x = (
        models.linear(tmp_path / "m.onnx"),
        models.samples(tmp_path / "x.npz", np.ones((2, 8), np.float32)),
    )
    subject, path = (
        target(),
        tmp_path / "cache" / "autocompress" / "tensorrt" / "timing-Fake_GPU_24SM-10.3.0.bin",
    )
    path.parent.mkdir(parents=True)
    path.write_bytes(found)
    with subject.session() as session:
        session.run(model, x, batch=2)
    assert len(json.loads(path.read_bytes())) == 1


@pytest.mark.parametrize("version", ["10.3.0", "rtx"])
def test_without_a_driver_tensorrt_is_not_even_loaded(
    target: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    subject = target(version)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("FAKE_TENSORRT", "no version: loading it would fail")
    with pytest.raises(TargetUnavailable, match="no NVIDIA driver"):
        subject.probe()


def test_each_of_three_builds_chooses_its_own_tactics_and_anew_each_time(
    target: Opener, tmp_path: Path
) -> None:
    model, baseline = models.chain(tmp_path / "m.onnx", layers=1), models.chain(tmp_path / "b.onnx", layers=2)
    found = []
    for _ in range(2):
        with target().session() as session:
            session.measure(model, baseline, THREE_BUILDS)
        found.append(set(tactics(tmp_path)))
    # 3 builds of each model, one of the control's; the candidate's 3 are others the second time.
    assert [len(item) for item in found] == [7, 7]
    assert len(found[0] & found[1]) == 4


def test_an_inspector_without_metadata_tells_precisions_by_the_layers_names(
    target: Opener, tmp_path: Path
) -> None:
    with target("8.5.3").session() as session:
        executed = session.executed_precision(models.mixed_precisions(tmp_path / "m.onnx"), ["q", "h", "f"])
    assert executed == {"q": "int8", "h": "float16", "f": "float32"}


def test_checking_inspecting_and_measuring_a_model_share_one_engine(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    x = models.samples(tmp_path / "x.npz", np.ones((3, 16, 16, 16), np.float32))
    with target().session() as session:
        session.run(model, x, batch=2)
        session.executed_precision(model, ["conv0"], batch=2)
        session.profile_layers(model, ["conv0"], batch=2)
        session.measure(model, model, QUICK.with_batch(2))
    assert len(kept_engines(tmp_path / "cache")) == 1


def test_an_engine_of_another_version_is_not_used(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    for version in ("10.3.0", "11.4.0"):
        with target(version).session() as session:
            session.measure(model, model, QUICK)
    assert len(kept_engines(tmp_path / "cache")) == 2


def test_layer_times_are_those_of_the_profiler(target: Opener, tmp_path: Path) -> None:
    with target().session() as session:
        times = session.profile_layers(models.mixed_precisions(tmp_path / "m.onnx"), ["q", "h", "f"], batch=1)
    assert times.layers == pytest.approx({"q": 5e-4, "h": 5e-4, "f": 5e-4})
    assert times.other_s == pytest.approx(5e-4)  # the reformatting before the first


def test_a_gpu_in_a_pc_is_the_device_and_its_driver_is_part_of_the_environment(target: Opener) -> None:
    environment = target().probe()
    assert environment.device == "Fake GPU"
    assert environment.runtime_version == "10.3.0 sm_89 CUDA 12.6"


def test_the_doctor_tells_the_gpu_and_a_control_on_it(target: Opener) -> None:
    target()
    findings = {finding.name: finding for finding in doctor(load_profile("gpu"))}
    assert findings["GPU"].detail == "Fake GPU: tensorrt 10.3.0 sm_89 CUDA 12.6"
    assert findings["A/A control"].ok and "int8 kernels" not in findings


@pytest.mark.parametrize("name", ["gpu", "gpu-rtx"])
def test_a_command_for_a_gpu_ends_at_once_without_one(name: str, tmp_path: Path) -> None:
    model = models.linear(tmp_path / "m.onnx")
    command = [sys.executable, "-m", "autocompress", "measure", str(model), "--target", name]
    without = {
        **os.environ,
        "LD_LIBRARY_PATH": "",
        "CUDA_VISIBLE_DEVICES": "",
    }  # an empty list hides the GPUs of a machine with some
    seen = subprocess.run(command, env=without, capture_output=True, text=True, timeout=60, check=False)
    assert seen.returncode == 3, seen.stderr
    assert seen.stderr.count("\n") == 1 and "choose a target of the CPU" in seen.stderr


def test_the_doctor_says_what_a_machine_without_a_gpu_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (finding,) = doctor(load_profile("gpu"))
    assert not finding.ok and "Install NVIDIA's driver" in finding.detail
    assert "on a machine with an NVIDIA GPU and its driver" in finding.remedy
