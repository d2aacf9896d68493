"""What every TensorRT must do in a worker: each version's fake on a fake GPU here, and the real ones where
there is a GPU.

python -m pytest tests/contract/test_gpu_runtimes.py -m "gpu or not gpu"
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from autocompress.errors import InputError, StageError, TargetUnavailable
from autocompress.profiles import load_profile
from autocompress.targets.target import Target
from autocompress.tests.targets import models
from autocompress.tests.targets.gpu import fake_driver, kept_engines, use_fake_gpu
from autocompress.tests.targets.models import QUICK
from onnx import helper

FAKES = ("8.6.1", "10.3.0", "11.4.0", "rtx")
# One with weak and one with strong typing; the others take the suite too long.
RUN = tuple(pytest.param(name, marks=() if name in ("8.6.1", "rtx") else pytest.mark.slow) for name in FAKES)
REAL = tuple(pytest.param(name, marks=pytest.mark.gpu) for name in ("real tensorrt", "real tensorrt-rtx"))
Opener = Callable[..., Target]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(params=[*RUN, *REAL])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """A function that makes a target, of a profile changed by its arguments; engines are kept in
    tmp_path/cache.
    """
    monkeypatch.setattr("autocompress.targets.target.SEARCH_TIMING", QUICK)
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    if request.param in FAKES:
        driver = request.getfixturevalue("driver")
        use_fake_gpu(monkeypatch, driver=driver, cache=tmp_path / "cache", version=request.param)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def opened(**options) -> Target:
        made = Target(replace(load_profile("gpu-rtx" if request.param.endswith("rtx") else "gpu"), **options))
        if request.param not in FAKES:
            try:
                made.probe()
            except TargetUnavailable as error:
                pytest.skip(str(error))
        return made

    return opened


@pytest.mark.parametrize("batch", ["batch", 4], ids=str)
def test_outputs_equal_a_numpy_reference_for_dynamic_and_fixed_batches(
    target: Opener, tmp_path: Path, batch: int | str
) -> None:
    x = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)
    model = models.linear(tmp_path / "m.onnx", batch=batch, scale=3.0)
    with target().session() as session:
        (y,) = session.run(model, models.samples(tmp_path / "x.npz", x), batch=3)
    np.testing.assert_allclose(y, 3 * x, rtol=1e-6)


def test_a_measurement_is_in_gpu_time_and_tells_what_was_built(target: Opener, tmp_path: Path) -> None:
    model, baseline = models.chain(tmp_path / "m.onnx", layers=1), models.chain(tmp_path / "b.onnx", layers=8)
    with target().session() as session:
        seen = session.measure(model, baseline, QUICK)
    assert seen.timer == "cuda-events" and seen.ratio > 0
    assert "CUDA" in seen.environment.runtime_version and seen.details["gpu"]
    assert seen.details["cuda_graph"] and not seen.details["tf32"]
    assert len(seen.details["build_s"]) == 1 and seen.details["host_enqueue_s"] > 0
    assert seen.details["engine_bytes"] > 16 * 16 * 3 * 3 * 4
    # The weights, and 16 KB each of input and output.
    assert (
        seen.peak_memory_bytes is not None
        and seen.peak_memory_bytes >= 16 * 16 * 3 * 3 * 4 + 2 * 16 * 16 * 16 * 4
    )


def test_each_layer_runs_in_the_precision_that_the_model_says(target: Opener, tmp_path: Path) -> None:
    with target().session() as session:
        executed = session.executed_precision(
            models.mixed_precisions(tmp_path / "m.onnx"), ["q", "h", "f", "gone"]
        )
    assert executed == {"q": "int8", "h": "float16", "f": "float32"}


def test_layers_have_times(target: Opener, tmp_path: Path) -> None:
    with target().session() as session:
        times = session.profile_layers(models.mixed_precisions(tmp_path / "m.onnx"), ["q", "h", "f"], batch=1)
    assert set(times.layers) == {"q", "h", "f"} and min(times.layers.values()) > 0 and times.other_s >= 0


def test_tf32_is_used_only_where_the_profile_says_so(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    with target(runtime_options={"tf32": "1"}).session() as session:
        assert session.measure(model, model, QUICK).details["tf32"]


def test_engines_are_kept_for_later_workers(target: Opener, tmp_path: Path) -> None:
    model, baseline = models.chain(tmp_path / "m.onnx", layers=1), models.chain(tmp_path / "b.onnx", layers=2)
    for _ in range(2):
        with target().session() as session:
            session.measure(model, baseline, QUICK)
    assert len(kept_engines(tmp_path / "cache")) == 2


def test_another_batch_size_is_another_engine(target: Opener, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=1)
    with target().session() as session:
        session.measure(model, model, QUICK)
        session.measure(model, model, QUICK.with_batch(2))
    assert len(kept_engines(tmp_path / "cache")) == 2


def test_a_finalist_is_built_three_times(target: Opener, tmp_path: Path) -> None:
    model, baseline = models.chain(tmp_path / "m.onnx", layers=1), models.chain(tmp_path / "b.onnx", layers=2)
    with target().session() as session:
        seen = session.measure(model, baseline, replace(QUICK, pairs_min=3, pairs_max=3, engine_builds=3))
    assert (seen.details["engine_builds"], len(seen.details["build_s"])) == (3, 3)
    assert len(kept_engines(tmp_path / "cache")) == 7  # and the control's


def test_what_the_parser_refuses_is_an_error_of_the_candidate(target: Opener, tmp_path: Path) -> None:
    model = models.quantized_chain(tmp_path / "m.onnx", precisions="q")  # uint8, zero point 128, int32 biases
    x = models.samples(tmp_path / "x.npz", np.ones((1, 16, 16, 16), np.float32))
    with (
        target().session() as session,
        pytest.raises(StageError, match=r"TensorRT cannot (read|build) the model"),
    ):
        session.run(model, x, batch=1)


def test_a_file_that_is_no_model_is_an_error_and_the_worker_lives_on(target: Opener, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"rubbish")
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), np.float32))
    with target().session() as session:
        with pytest.raises(StageError, match="TensorRT cannot read the model"):
            session.run(tmp_path / "bad.onnx", x, batch=2)
        (y,) = session.run(models.linear(tmp_path / "m.onnx"), x, batch=2)
    assert np.shape(y) == (2, 8)


def test_a_dynamic_dimension_beside_the_batch_must_be_said(target: Opener, tmp_path: Path) -> None:
    model = models.save(
        tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["batch", "length"]}
    )
    subject = target()
    with subject.session() as session:
        with pytest.raises(InputError, match="--shape x=1,32"):
            session.measure(model, model, QUICK)
        subject.workload["shapes"] = {"x": [1, 12]}
        assert session.measure(model, model, QUICK).latency_s > 0
