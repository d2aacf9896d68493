"""A file that another program wrote is measured with the runtime's defaults."""

import importlib
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from autocompress.profiles import load_profile
from autocompress.targets.model_files.one_file import is_foreign
from autocompress.targets.protocol import measure_model
from autocompress.targets.target import LEFT_OUT, Target
from autocompress.targets.transport import WORKER
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK

pytestmark = pytest.mark.usefixtures("quiet_machine")

OURS_ALONE = ["optimization.disable_specified_optimizers", "session.set_denormal_as_zero"]


def ours(path: Path) -> Path:
    """The model as if this package had written it."""
    model = onnx.load(path)
    model.producer_name = "autocompress"
    onnx.save(model, path)
    return path


def test_the_worker_opens_each_side_with_its_own_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(WORKER).parent))
    runtime = importlib.import_module("on_device.runtimes.listed").load_runtime("onnxruntime")
    seen: dict[str, set[tuple[str, ...]]] = {}

    def open_session(model: str, request: dict[str, Any]) -> Any:
        seen.setdefault(Path(model).name, set()).add(tuple(sorted(request["runtime_options"])))
        return runtime.open_session(model, request)

    recording = SimpleNamespace(**{**vars(runtime), "open_session": open_session})
    request = {
        **{"runtime": "onnxruntime", "threads": 1, "cores": [0], "timer": "thread-cpu", "emulated": False},
        "runtime_options": {"session.set_denormal_as_zero": "1", "session.x64quantprecision": "1"},
        "model": str(models.linear(tmp_path / "foreign.onnx")),
        "baseline": str(models.linear(tmp_path / "ours.onnx")),
        LEFT_OUT: {"model": ["session.set_denormal_as_zero"]},
        **{"timing": asdict(QUICK), "critical": [12.7]},
    }
    importlib.import_module("on_device.worker").measure(recording, request)
    assert seen == {
        "foreign.onnx": {("session.x64quantprecision",)},
        "ours.onnx": {("session.set_denormal_as_zero", "session.x64quantprecision")},
    }


@pytest.mark.parametrize("foreign_baseline", [False, True], ids=["ours", "foreign"])
@pytest.mark.parametrize("foreign_model", [False, True], ids=["ours", "foreign"])
def test_a_measurement_says_which_files_options_were_left_out(
    tmp_path: Path, foreign_model: bool, foreign_baseline: bool
) -> None:
    model, baseline = models.linear(tmp_path / "m.onnx"), models.linear(tmp_path / "b.onnx", scale=2.0)
    for path, foreign in ((model, foreign_model), (baseline, foreign_baseline)):
        if not foreign:
            ours(path)
    seen = measure_model(model, Target(load_profile("cpu")), baseline=baseline, timing=QUICK)
    by_side = {"model": foreign_model, "baseline": foreign_baseline}
    expected = {side: OURS_ALONE for side, it_is in by_side.items() if it_is}
    assert seen.details.get(LEFT_OUT, {}) == expected == seen.to_json()["details"].get(LEFT_OUT, {})


def test_what_the_users_target_file_sets_counts_for_foreign_files_too(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('inherits = "cpu"\n[runtime_options]\n"session.set_denormal_as_zero" = "0"\n')
    model = models.linear(tmp_path / "m.onnx")
    seen = measure_model(model, Target(load_profile(str(own))), timing=QUICK)
    assert seen.details[LEFT_OUT]["model"] == ["optimization.disable_specified_optimizers"]


@pytest.mark.parametrize("name", ["cpu", "cpu-avx2", "cpu-openvino", "cpu-openvino-bf16", "raspberry-pi-5"])
def test_options_that_a_target_is_chosen_for_are_not_for_our_files_alone(name: str) -> None:
    profile = load_profile(name)
    chosen = {"session.x64quantprecision", "INFERENCE_PRECISION_HINT", "NUM_STREAMS", "ENABLE_CPU_PINNING"}
    assert profile.own_file_options and not chosen & set(profile.own_file_options)
    assert set(profile.own_file_options) <= set(profile.runtime_options)


def test_a_file_of_a_producer_with_a_similar_name_is_foreign(tmp_path: Path) -> None:
    path = ours(models.linear(tmp_path / "m.onnx"))
    assert not is_foreign(path)
    model = onnx.load(path)
    model.producer_name = "autocompressor"
    onnx.save(model, path)
    assert is_foreign(path)
