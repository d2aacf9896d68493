"""What every runtime of the worker that needs no GPU must do; `targets/on_device/runtime.py` says it in
words.
"""

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autocompress.profiles import load_profile
from autocompress.targets.model_files.container import as_taken
from autocompress.targets.target import Target
from autocompress.targets.transport import WORKER
from autocompress.tests.targets import models
from onnx import helper

PROFILES = {"onnxruntime": "cpu", "openvino": "cpu-openvino", "litert": "cpu-litert"}
MODULES = {name: load_profile(profile).facts.module for name, profile in PROFILES.items()}
WEIGHTS = {
    "fc.weight": np.arange(12, dtype=np.float32).reshape(4, 3),
    "fc.bias": np.array([1.0, 2.0, 3.0], np.float32),
}


@pytest.fixture(params=sorted(PROFILES))
def name(request: pytest.FixtureRequest) -> str:
    """The runtime's name."""
    if importlib.util.find_spec(MODULES[request.param]) is None:
        pytest.skip(load_profile(PROFILES[request.param]).facts.pip)
    return str(request.param)


@pytest.fixture
def runtime(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The runtime's module, imported as it is on a device."""
    monkeypatch.syspath_prepend(str(Path(WORKER).parent))
    return importlib.import_module("on_device.runtimes.listed").load_runtime(name)


@pytest.fixture
def request_(name: str, tmp_path: Path) -> dict[str, Any]:
    """A request about x · W + b, W 4 × 3, by the options of the runtime's own profile."""
    profile = load_profile(PROFILES[name])
    node = helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], name="fc")
    model = models.save(tmp_path / "m.onnx", [node], inputs={"x": ["batch", 4]}, weights=WEIGHTS)
    model = as_taken(model, profile.facts.container, tmp_path)
    options = {"threads": 1, "timer": profile.timer, "runtime_options": dict(profile.runtime_options)}
    return {
        **options,
        "model": str(model),
        "output": str(tmp_path / "out.onnx"),
        "batch": 2,
        "profile_s": 0.01,
    }


def expected(x: np.ndarray) -> np.ndarray:
    """What the model answers."""
    return x @ WEIGHTS["fc.weight"] + WEIGHTS["fc.bias"]


def feeds(batch: int) -> dict[str, np.ndarray]:
    """Inputs of that many samples."""
    return {"x": np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32)}


BAD_OPTIONS = {
    "onnxruntime": [
        ("session.dynamic_block_base", "many", "stoi"),
        ("session.intra_op_thread_affinities", "x", "must consist of only digits"),
        ("", "1", "key is empty"),
        ("optimization.minimal_build_optimizations", "x", "Invalid value"),
    ],
    "litert": [("num_threads", "2", "it has no runtime options")],
    "openvino": [
        ("NO_SUCH", "1", "there are CPU_DENORMALS_OPTIMIZATION,.*NUM_STREAMS"),
        ("FULL_DEVICE_NAME", "mine", "none of this name that can be set"),
        ("PERFORMANCE_HINT", "FAST", "Expected only .*LATENCY"),
        ("NUM_STREAMS", "many", "Could not read number of streams"),
        ("INFERENCE_PRECISION_HINT", "i8", "Supported values: bf16, f16, f32"),
    ],
}


def test_an_option_that_it_does_not_take_is_refused_with_its_name_and_the_remedy(
    name: str, runtime: Any, request_: dict[str, Any]
) -> None:
    refused = importlib.import_module("on_device.runtime").RefusedError
    for key, value, why in BAD_OPTIONS[name]:
        options = {**request_["runtime_options"], key: value}
        with pytest.raises(
            refused, match=rf"runtime option {key} = '{value}' \(.*{why}.*\): mend it, or remove"
        ) as told:
            runtime.facts({**request_, "runtime_options": options})
        assert told.value.kind == "input" and "\n" not in str(told.value)


def test_it_tells_its_version_and_the_inputs(runtime: Any, request_: dict[str, Any]) -> None:
    assert runtime.version() and isinstance(runtime.facts(request_), dict)
    (found,) = runtime.open_session(request_["model"], request_).inputs
    assert (found.name, found.dtype, found.shape[1]) == ("x", "float32", 4) and not isinstance(
        found.shape[0], int
    )


def test_it_answers_batches_of_any_size_in_one_session(runtime: Any, request_: dict[str, Any]) -> None:
    session = runtime.open_session(request_["model"], request_)
    for batch in (2, 5, 2):
        (answer,) = session.run(feeds(batch))
        np.testing.assert_allclose(answer, expected(feeds(batch)["x"]), rtol=1e-5, atol=1e-5)


def test_answers_stay_what_they_were_when_the_session_runs_again(
    runtime: Any, request_: dict[str, Any]
) -> None:
    session = runtime.open_session(request_["model"], request_)
    (first,) = session.run(feeds(2))
    session.run({"x": np.zeros((2, 4), np.float32)})
    np.testing.assert_allclose(first, expected(feeds(2)["x"]), rtol=1e-5, atol=1e-5)


def test_inputs_may_be_read_only(runtime: Any, request_: dict[str, Any]) -> None:
    given = feeds(2)
    given["x"].flags.writeable = False
    (answer,) = runtime.open_session(request_["model"], request_).run(given)
    np.testing.assert_allclose(answer, expected(given["x"]), rtol=1e-5, atol=1e-5)


def test_large_stored_samples_are_read_as_they_are(
    name: str, request_: dict[str, Any], tmp_path: Path
) -> None:
    """They are mapped, read-only: copies of them have to live until the answer is there."""
    stored = np.random.default_rng(0).standard_normal((250_000, 4)).astype(np.float32)
    (tmp_path / "stored").mkdir()
    np.save(tmp_path / "stored" / "0.npy", stored)
    with Target(load_profile(PROFILES[name])).session() as session:
        (answer,) = session.run(Path(request_["model"]), tmp_path / "stored", batch=100_000)
    np.testing.assert_allclose(answer, expected(stored), rtol=1e-4, atol=1e-4)


def test_a_block_tells_timer_and_wall_clock_of_each_inference(runtime: Any, request_: dict[str, Any]) -> None:
    bound = runtime.open_session(request_["model"], request_).bind(feeds(2))
    assert bound.once() > 0
    own, wall, single = bound.block(50)
    assert own > 0 and wall > 0 and len(single) == 50 and sum(single) == pytest.approx(50 * wall)


def test_with_one_thread_the_calling_thread_does_the_work(
    name: str, runtime: Any, request_: dict[str, Any], tmp_path: Path
) -> None:
    weight = {"fc.weight": np.ones((1024, 1024), np.float32)}
    node = helper.make_node("MatMul", ["x", "fc.weight"], ["y"], name="fc")
    model = models.save(tmp_path / "big.onnx", [node], inputs={"x": ["batch", 1024]}, weights=weight)
    model = as_taken(model, load_profile(PROFILES[name]).facts.container, tmp_path)
    bound = runtime.open_session(str(model), request_).bind({"x": np.ones((64, 1024), np.float32)})
    bound.block(3)
    before = time.thread_time(), time.process_time()
    bound.block(20)
    own, all_threads = time.thread_time() - before[0], time.process_time() - before[1]
    assert own >= 0.9 * all_threads > 0


def test_it_tells_what_it_made_of_the_model(runtime: Any, request_: dict[str, Any]) -> None:
    found = runtime.optimized(request_)
    if "layers" in found:
        assert list(found["layers"].values()) == ["float32"] and next(iter(found["layers"])).startswith("fc")
    else:
        assert Path(request_["output"]).is_file()


def test_it_tells_the_seconds_of_kernels(runtime: Any, request_: dict[str, Any]) -> None:
    found = runtime.profile(request_, None)
    assert found["runs"] >= 10 and all(seconds >= 0 for seconds in found["kernels"].values())


def test_a_damaged_model_is_one_of_its_errors(runtime: Any, request_: dict[str, Any]) -> None:
    Path(request_["model"]).write_bytes(b"no model at all")
    with pytest.raises(runtime.ERRORS):
        runtime.open_session(request_["model"], request_).run(feeds(2))


def test_an_option_that_it_does_not_know_is_one_of_its_errors_or_ignored(
    runtime: Any, request_: dict[str, Any], name: str
) -> None:
    request_["runtime_options"]["NO_SUCH_OPTION"] = "1"
    if name in ("onnxruntime", "litert"):
        runtime.open_session(request_["model"], request_).run(feeds(2))
        return
    with pytest.raises(runtime.ERRORS, match="NO_SUCH_OPTION"):
        runtime.open_session(request_["model"], request_).run(feeds(2))


def test_a_module_that_is_missing_is_named_with_what_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(WORKER).parent))
    seam = importlib.import_module("on_device.runtimes.listed")
    module = f"on_device.runtimes.{seam.folder_of(name)}.runtime"
    monkeypatch.delitem(sys.modules, module, raising=False)
    facts = load_profile(PROFILES[name]).facts
    for loaded in [one for one in sys.modules if one.startswith(f"{facts.module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, facts.module, None)
    with pytest.raises(seam.RefusedError, match=facts.pip) as refused:
        seam.load_runtime(name)
    assert refused.value.kind == "unavailable"
