"""The worker against real models: outputs, memory, inputs, and the timing loop's records."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from autocompress.errors import InputError, StageError
from autocompress.profiles import TimingConfig, load_profile
from autocompress.profiles.measurement import relative_half_width
from autocompress.profiles.runtimes import runtime_facts, runtime_folders
from autocompress.targets.target import Target, TargetSession
from autocompress.targets.transport import WORKER
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK
from onnx import helper

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.fixture
def session() -> Iterator[TargetSession]:
    with Target(load_profile("cpu")).session() as opened:
        yield opened


def imports_of(path: Path) -> set[str]:
    """The top-level modules that a file imports, relative ones left out."""
    return {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [item.name for item in node.names]
        )
    }


MODULES = sorted(WORKER.rglob("*.py"))


def module_name(path: Path) -> str:
    return str(path.relative_to(WORKER))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_what_runs_on_the_device_needs_the_standard_library_numpy_and_one_runtime(path: Path) -> None:
    foreign = imports_of(path) - set(sys.stdlib_module_names) - {"numpy", "on_device"}
    libraries = {folder: runtime_facts(name).module for name, folder in runtime_folders().items()}
    library = {libraries.get(path.parent.name, "")}
    # the schema of its files comes with LiteRT, and what reads them is one of its requirements
    reads_files = library | {"flatbuffers"} if library == {"ai_edge_litert"} else set()
    allowed = {"runtime.py": library, "operators.py": reads_files, "graph.py": {"onnx"}}
    assert foreign <= allowed.get(path.name, set())


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_what_runs_on_the_device_is_written_for_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("batch", ["batch", 1, 4], ids=str)
def test_outputs_equal_a_numpy_reference_for_dynamic_and_fixed_batches(
    session: TargetSession, tmp_path: Path, batch: int | str
) -> None:
    x = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)
    model = models.linear(tmp_path / "m.onnx", batch=batch, scale=3.0)
    (y,) = session.run(model, models.samples(tmp_path / "x.npz", x), batch=3)
    np.testing.assert_allclose(y, 3 * x, rtol=1e-6)


def test_samples_may_lie_in_a_folder_of_arrays(session: TargetSession, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    x = np.ones((5, 8), dtype=np.float32)
    np.save(folder / "0.npy", x)
    (y,) = session.run(models.linear(tmp_path / "m.onnx"), folder, batch=2)
    np.testing.assert_array_equal(y, x)


def test_nan_outputs_are_wrong_outputs(session: TargetSession, tmp_path: Path) -> None:
    x = models.samples(tmp_path / "x.npz", np.full((2, 4), -1, dtype=np.float32))
    with pytest.raises(StageError, match="NaN") as failure:
        session.run(models.logarithm(tmp_path / "m.onnx"), x, batch=2)
    assert (failure.value.stage, failure.value.kind) == ("run", "wrong-output")


def test_a_model_that_does_not_load_is_an_error_and_the_worker_lives_on(
    session: TargetSession, tmp_path: Path
) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"rubbish")
    x = models.samples(tmp_path / "x.npz", np.ones((2, 8), dtype=np.float32))
    with pytest.raises(StageError) as failure:
        session.run(tmp_path / "bad.onnx", x, batch=2)
    assert (failure.value.kind, failure.value.retryable) == ("error", False)
    assert np.shape(session.run(models.linear(tmp_path / "m.onnx"), x, batch=2)[0]) == (2, 8)


def test_a_model_beyond_the_memory_limit_fails_for_want_of_memory(tmp_path: Path) -> None:
    profile = tmp_path / "small.toml"
    profile.write_text(f'inherits = "cpu"\nmemory_limit_bytes = {256 << 20}')
    model = models.hungry(tmp_path / "m.onnx", size_bytes=1 << 30)
    x = models.samples(tmp_path / "x.npz", np.ones(1, dtype=np.float32))
    with Target(load_profile(str(profile))).session() as session, pytest.raises(StageError) as failure:
        session.run(model, x, batch=1)
    assert failure.value.kind == "memory", str(failure.value)


def test_peak_memory_is_that_of_the_candidate(session: TargetSession, tmp_path: Path) -> None:
    small = models.linear(tmp_path / "small.onnx")
    big = models.hungry(tmp_path / "big.onnx", size_bytes=64 << 20)
    seen = session.measure(big, small, QUICK).peak_memory_bytes
    assert seen is not None and 60 << 20 <= seen <= 160 << 20


def test_a_measurement_keeps_what_it_was_told_to_take(session: TargetSession, tmp_path: Path) -> None:
    model, timing = (
        models.chain(tmp_path / "m.onnx", layers=2),
        TimingConfig(pairs_min=2, pairs_max=3, half_width=1e-9),
    )
    seen = session.measure(model, model, timing)
    assert len(seen.pairs) == 3 and seen.noisy
    assert all(len(pair.baseline_s) >= 4 and len(pair.baseline_s) % 2 == 0 for pair in seen.pairs)
    assert all(len(pair.inference_wall_s) > 0 for pair in seen.pairs)
    assert seen.environment.runtime == "onnxruntime" and seen.timer == "thread-cpu"
    assert 0 < seen.p50_s <= seen.p90_s <= seen.p99_s


def test_measuring_stops_as_soon_as_the_interval_is_narrow(session: TargetSession, tmp_path: Path) -> None:
    model, timing = (
        models.chain(tmp_path / "m.onnx", layers=2),
        TimingConfig(pairs_min=2, pairs_max=8, half_width=0.05),
    )
    seen = session.measure(model, model, timing)
    wide = [relative_half_width(seen.pair_ratios[:count]) > 0.05 for count in range(2, len(seen.pairs))]
    assert all(wide) and (len(seen.pairs) == 8 or not seen.noisy)


def test_time_over_ends_measuring_after_two_pairs(session: TargetSession, tmp_path: Path) -> None:
    model = models.chain(tmp_path / "m.onnx", layers=2)
    timing = TimingConfig(pairs_min=3, pairs_max=8, half_width=1e-9, max_s=0.01)
    assert len(session.measure(model, model, timing).pairs) == 2


def test_a_model_with_eight_times_the_work_takes_longer(session: TargetSession, tmp_path: Path) -> None:
    one, eight = models.chain(tmp_path / "1.onnx", layers=1), models.chain(tmp_path / "8.onnx", layers=8)
    assert session.measure(one, eight, QUICK).ratio < 0.5
    assert session.measure(eight, one, QUICK).ratio > 2


def test_a_fixed_batch_that_differs_is_told(session: TargetSession, tmp_path: Path) -> None:
    model = models.linear(tmp_path / "m.onnx", batch=4)
    with pytest.raises(InputError, match="fixed batch size 4"):
        session.measure(model, model, QUICK)


def test_a_dynamic_dimension_needs_a_shape(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["tokens"], ["y"])
    model = models.save(tmp_path / "m.onnx", [node], inputs={"tokens": ["batch", "length"]})
    with (
        Target(load_profile("cpu")).session() as session,
        pytest.raises(InputError, match="--shape tokens=1,32"),
    ):
        session.measure(model, model, QUICK)
    with Target(load_profile("cpu"), shapes={"tokens": [1, 16]}).session() as session:
        assert session.measure(model, model, QUICK).ratio > 0


def test_models_are_timed_with_given_samples(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["tokens"], ["y"])
    model = models.save(
        tmp_path / "m.onnx", [node], inputs={"tokens": ["batch", "length"]}, dtype=models.FLOAT
    )
    inputs = models.samples(tmp_path / "x.npz", np.ones((3, 16), dtype=np.float32))
    with Target(load_profile("cpu"), inputs=inputs).session() as session:
        assert session.measure(model, model, QUICK.with_batch(8)).timing.batch == 8
