"""TensorRT in real worker processes, on a fake GPU: every version's way from ONNX to a measurement."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from autocompress.errors import InputError, StageError, TargetUnavailable
from autocompress.profiles import load_profile
from autocompress.targets.on_device import tensorrt_cache, timing
from autocompress.targets.target import Target
from autocompress.tests.targets import models
from autocompress.tests.targets.gpu import fake_driver, use_fake_gpu
from autocompress.tests.targets.models import QUICK
from onnx import TensorProto, helper

pytestmark = pytest.mark.usefixtures("quiet_machine")
VERSIONS = ("8.5.3", "8.6.1", "10.3.0", "11.4.0", "rtx")
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


def kept_engines(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "autocompress" / "tensorrt").glob("*.engine"))


def tactics(tmp_path: Path) -> list[str]:
    """What each kept engine's build chose: the second line of the file, behind what is known of it."""
    heads = [path.read_bytes().split(b"\n")[1] for path in kept_engines(tmp_path)]
    return [json.loads(head[len(b"fake-engine ") :])["tactic"] for head in heads]


def mixed(path: Path) -> Path:
    """Convolutions `q` (int8), `h` (float16 between casts) and `f` (float32), in the convention of TensorRT."""
    weight = np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)
    weights = {
        **{"s": np.array(0.05, np.float32), "z": np.array(0, np.int8), "steps": np.full(4, 0.02, np.float32)},
        **{"q.weight_q": np.clip(np.rint(weight / 0.02), -127, 127).astype(np.int8), "h.weight": weight.astype(np.float16)},
        **{"f.weight": weight},
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["a", "s", "z"], ["b"]),
        helper.make_node("DequantizeLinear", ["q.weight_q", "steps"], ["w"], axis=0),
        helper.make_node("Conv", ["b", "w"], ["c"], name="q"),
        helper.make_node("Relu", ["c"], ["d"], name="relu"),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["e", "h.weight"], ["g"], name="h"),
        helper.make_node("Cast", ["g"], ["i"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["i", "f.weight"], ["y"], name="f"),
    ]
    return models.save(path, nodes, inputs={"x": ["batch", 4, 6, 6]}, weights=weights)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("batch", ["batch", 4], ids=str)
def test_outputs_equal_a_numpy_reference_for_dynamic_and_fixed_batches(
    target: Opener, tmp_path: Path, version: str, batch: int | str
) -> None:
    x = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)
    model = models.linear(tmp_path / "m.onnx", batch=batch, scale=3.0)
    with target(version).session() as session:
        (y,) = session.run(model, models.samples(tmp_path / "x.npz", x), batch=3)
    np.testing.assert_allclose(y, 3 * x, rtol=1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_measurement_is_in_gpu_time_and_tells_what_was_built(target: Opener, tmp_path: Path, version: str) -> None:
    model, baseline = models.chain(tmp_path / "m.onnx", layers=1), models.chain(tmp_path / "b.onnx", layers=4)
    with target(version).session() as session:
        measurement = session.measure(model, baseline, QUICK)
    assert measurement.timer == "cuda-events"
    assert measurement.ratio < 1
    assert (measurement.environment.device, measurement.details["gpu"]) == ("Fake GPU", "Fake GPU")
    assert "sm_89 CUDA 12.6" in measurement.environment.runtime_version
    assert measurement.details["cuda_graph"] and not measurement.details["tf32"]
    assert measurement.details["engine_bytes"] > model.stat().st_size and measurement.details["host_enqueue_s"] > 0
    # The fake context takes as much memory as its model's weights; input and output have 16 KB each.
    assert measurement.peak_memory_bytes >= 16 * 16 * 3 * 3 * 4 + 2 * 16 * 16 * 16 * 4
    assert len(measurement.details["build_s"]) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_each_layer_runs_in_the_precision_that_the_model_says(target: Opener, tmp_path: Path, version: str) -> None:
    with target(version).session() as session:
        executed = session.executed_precision(mixed(tmp_path / "m.onnx"), ["q", "h", "f", "gone"])
    assert executed == {"q": "int8", "h": "float16", "f": "float32"}


def test_before_strong_typing_the_flags_are_those_that_the_model_needs(target: Opener, tmp_path: Path) -> None:
    with target("8.6.1").session() as session:
        whole = session.measure(mixed(tmp_path / "m.onnx"), models.chain(tmp_path / "b.onnx", layers=1), QUICK)
        plain = session.measure(models.chain(tmp_path / "p.onnx", layers=2), models.chain(tmp_path / "b.onnx", layers=1), QUICK)
    assert whole.details["flags"] == ["SPARSE_WEIGHTS", "INT8", "FP16", "OBEY_PRECISION_CONSTRAINTS"]
    assert plain.details["flags"] == ["SPARSE_WEIGHTS"]


def test_tf32_is_used_only_where_the_profile_says_so(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    with target(runtime_options={"tf32": "1"}).session() as session:
        assert session.measure(model, model, QUICK).details["tf32"]


def test_an_option_that_does_not_exist_is_refused(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    with target(runtime_options={"fp16": "1"}).session() as session, pytest.raises(InputError, match="no runtime option 'fp16'"):
        session.measure(model, model, QUICK)


def test_engines_are_kept_for_later_workers(target: Opener, tmp_path: Path) -> None:
    model, baseline = models.chain(tmp_path / "m.onnx", layers=1), models.chain(tmp_path / "b.onnx", layers=2)
    for _ in range(2):
        with target().session() as session:
            session.measure(model, baseline, QUICK)
    assert len(kept_engines(tmp_path)) == 2


def test_another_batch_size_or_version_is_another_engine(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    for version, batch in (("10.3.0", 1), ("10.3.0", 2), ("11.4.0", 1)):
        with target(version).session() as session:
            session.measure(model, model, QUICK.with_batch(batch))
    assert len(kept_engines(tmp_path)) == 3


def test_the_timing_cache_makes_builds_choose_the_same_tactics(target: Opener, tmp_path: Path) -> None:
    model, seen = models.linear(tmp_path / "m.onnx"), []
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), np.float32))
    for _ in range(2):
        with target().session() as session:
            session.run(model, x, batch=2)
        seen += tactics(tmp_path)
        kept_engines(tmp_path)[0].unlink()
    assert seen[0] == seen[1]
    assert (tmp_path / "cache" / "autocompress" / "tensorrt" / "timing-Fake_GPU-10.3.0.bin").is_file()


def test_a_finalist_is_built_three_times_and_anew_each_time(target: Opener, tmp_path: Path) -> None:
    model, baseline = models.chain(tmp_path / "m.onnx", layers=1), models.chain(tmp_path / "b.onnx", layers=2)
    found = []
    for _ in range(2):
        with target().session() as session:
            measurement = session.measure(model, baseline, THREE_BUILDS)
        assert (measurement.details["engine_builds"], len(measurement.details["build_s"])) == (3, 3)
        found.append(set(tactics(tmp_path)))
    # 3 builds of each model, one of the control's; the candidate's 3 are others the second time.
    assert [len(item) for item in found] == [7, 7]
    assert len(found[0] & found[1]) == 4


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

    request = {"timing": asdict(THREE_BUILDS), "baseline": "b", "model": "m"}
    for number in range(4):
        timing.measure_pair(Runtime(), request, [{}, {}], number=number)
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


def test_layer_times_are_those_of_the_profiler(target: Opener, tmp_path: Path) -> None:
    with target().session() as session:
        times = session.profile_layers(mixed(tmp_path / "m.onnx"), ["q", "h", "f"], batch=1)
    assert times.layers == pytest.approx({"q": 5e-4, "h": 5e-4, "f": 5e-4})
    assert times.other_s == pytest.approx(5e-4)  # the reformatting before the first


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_what_the_parser_refuses_is_an_error_of_the_candidate(target: Opener, tmp_path: Path, version: str) -> None:
    model = models.quantized_chain(tmp_path / "m.onnx", precisions="q")  # uint8, zero point 128, int32 biases
    with target(version).session() as session, pytest.raises(StageError, match="node .: Non-zero zero point is not supported"):
        session.run(model, models.samples(tmp_path / "x.npz", np.ones((1, 16, 16, 16), np.float32)), batch=1)


def test_a_file_that_is_no_model_is_an_error_and_the_worker_lives_on(target: Opener, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"rubbish")
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), np.float32))
    with target().session() as session:
        with pytest.raises(StageError, match="TensorRT cannot read the model"):
            session.run(tmp_path / "bad.onnx", x, batch=2)
        (y,) = session.run(models.linear(tmp_path / "m.onnx"), x, batch=2)
    assert y.shape == (2, 8)


def test_a_dynamic_dimension_beside_the_batch_must_be_said(target: Opener, tmp_path: Path) -> None:
    model = models.save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["batch", "length"]})
    with target().session() as session, pytest.raises(InputError, match="--shape x=1,32"):
        session.measure(model, model, QUICK)


def test_named_shapes_are_those_that_an_engine_is_built_for(target: Opener, tmp_path: Path) -> None:
    model = models.save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["batch", "length"]})
    subject = target()
    subject.workload["shapes"] = {"x": [1, 12]}
    with subject.session() as session:
        assert session.measure(model, model, QUICK).latency_s > 0


def test_a_damaged_engine_is_built_again(target: Opener, tmp_path: Path) -> None:
    model = models.linear(tmp_path / "m.onnx")
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), np.float32))
    with target().session() as session:
        session.run(model, x, batch=2)
        (path,) = kept_engines(tmp_path)
        path.write_bytes(path.read_bytes()[:-100])
        (y,) = session.run(model, x, batch=2)
    np.testing.assert_array_equal(y, 1)


def test_the_engines_that_were_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tensorrt_cache, "LIMIT_BYTES", 420)
    for number, key in enumerate("abcd"):
        tensorrt_cache.keep_engine(key, b"x" * 80, {"build_s": 1.0, "flags": []})
        os.utime(kept_engines(tmp_path)[-1], (number, number))
    assert [path.stem for path in kept_engines(tmp_path)] == ["b", "c", "d"]
    assert tensorrt_cache.load_engine("a") is None


def test_kernels_compiled_for_rtx_are_kept(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    with target("rtx").session() as session:
        session.measure(model, model, QUICK)
    blob = tmp_path / "cache" / "autocompress" / "tensorrt" / "runtime-Fake_GPU-1.7.1.bin"
    assert json.loads(blob.read_bytes()) == tactics(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"FAKE_CUDA_DEVICES": "0"}, "finds no GPU"), ({"FAKE_CUDA_INIT": "100"}, "no CUDA-capable device is detected")],
    ids=["no device", "no cuInit"],
)
def test_a_driver_without_a_gpu_makes_the_target_unavailable(
    target: Opener, monkeypatch: pytest.MonkeyPatch, setting: dict, message: str
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TargetUnavailable, match=f"{message}.*choose a target of the CPU"):
        target().probe()


@pytest.mark.parametrize("version", ["10.3.0", "rtx"])
def test_without_a_driver_nothing_of_tensorrt_is_touched(
    target: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    subject = target(version)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))  # the fake's Runtime would crash here, as the real one does
    with pytest.raises(TargetUnavailable, match="no NVIDIA driver"):
        subject.probe()
