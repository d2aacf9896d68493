"""Predicted latencies: where they come from, and that nothing can take one for a measured one."""

import io
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from autocompress.compress.recipe import Recipe
from autocompress.deploy.bundle import manifest_of
from autocompress.deploy.bundled.run_script import run_script
from autocompress.errors import TargetUnavailable
from autocompress.evaluation.predicted import LatencyModel
from autocompress.evaluation.targets import FoundTarget
from autocompress.explore.latency.model import LatencyPredictor
from autocompress.explore.latency.predict import FEWEST, TableModel, model_of, predicted_if_away
from autocompress.explore.latency.roofline import Roofline
from autocompress.explore.space.space import SearchSpace
from autocompress.profiles import PredictedLatency, parse_target
from autocompress.profiles.latency_table import Coefficient, LatencyTable
from autocompress.profiles.profile import Datasheet, Profile
from autocompress.profiles.runtimes import runtime_folders
from autocompress.results.limits import Limits
from autocompress.results.pick import NothingMeets, limits_text, pick
from autocompress.results.records.latency import Latency, Predicted, latency_from_json
from autocompress.results.records.reading import Fields
from autocompress.results.records.run import Run
from autocompress.results.report.page import render
from autocompress.results.table import columns, front_table
from autocompress.results.table_files import front_records
from autocompress.results.view import PointOn, RunOn
from autocompress.results.why.summary import why_json, why_lines
from autocompress.tests.explore.fakes import PROFILE, FakeNetwork
from autocompress.tests.explore.predicting import Desk, make_desk, predicted_run
from autocompress.tests.present import present
from autocompress.tests.profiles.records import ENVIRONMENT
from autocompress.tests.results.records import latency
from rich.console import Console

SHEET = Datasheet(
    peak_flops={"float32": 1e9, "int8": 4e9}, memory_bytes_per_s=1e9, overhead_s=1e-6, source="a leaflet"
)
NETWORK = FakeNetwork((16, 32, 10))
INT8 = Recipe(precision={"layer0": "int8", "layer1": "int8", "layer2": "int8"})


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return make_desk(tmp_path, monkeypatch)


def roofline(**changes) -> Roofline:
    return Roofline(network=NETWORK, sheet=replace(SHEET, **changes))


# --- the roofline


def test_with_endless_memory_bandwidth_a_roofline_is_operations_over_their_peak():
    found = roofline(memory_bytes_per_s=1e30, overhead_s=0.0)
    macs = 9 * 64 * (3 * 16 + 16 * 32 + 32 * 10)
    assert found.seconds(Recipe()) == pytest.approx(2 * macs / 1e9)
    assert found.seconds(INT8) == pytest.approx(2 * macs / 4e9)


def test_with_endless_operations_a_roofline_is_the_bytes_of_weights_and_activations():
    found = roofline(peak_flops={"float32": 1e30}, overhead_s=0.0)
    weights = 9 * (3 * 16 + 16 * 32 + 32 * 10)
    written, read = 64 * (16 + 32 + 10), 64 * (3 + 16 + 32)
    assert found.seconds(Recipe()) == pytest.approx(4 * (weights + written + read) / 1e9)
    assert found.seconds(INT8) == pytest.approx((weights + written + read) / 1e9)


def test_every_kernel_costs_its_overhead():
    slow = roofline(peak_flops={"float32": 1e30}, memory_bytes_per_s=1e30, overhead_s=2e-6)
    assert slow.seconds(Recipe()) == pytest.approx(3 * 2e-6)


def test_a_batch_moves_its_activations_but_not_its_weights_again():
    one, four = (
        replace(roofline(peak_flops={"float32": 1e30}, overhead_s=0.0), batch=batch).seconds(Recipe())
        for batch in (1, 4)
    )
    weights = 4 * 9 * (3 * 16 + 16 * 32 + 32 * 10) / 1e9
    assert four - weights == pytest.approx(4 * (one - weights))


# --- table or roofline


def space() -> SearchSpace:
    return SearchSpace.of(NETWORK, PROFILE)


def table_in(folder: Path) -> LatencyTable:
    return LatencyTable.of_device(folder, profile_fingerprint=PROFILE.fingerprint, environment=ENVIRONMENT)


def model_in(folder: Path, profile: Profile = PROFILE) -> LatencyModel:
    """What the tables in the folder, or else the profile's data sheet, predict from."""
    return present(model_of(profile, NETWORK, space(), batch=1, folder=folder))


def table_model_in(folder: Path) -> TableModel:
    model = model_in(folder)
    assert isinstance(model, TableModel)
    return model


def calibrated(folder: Path, *, count: int = FEWEST, reference_s: float | None = 2e-3) -> None:
    """A table of the profile, in which every kept channel of layer0 takes its share of the time."""
    predictor = LatencyPredictor(NETWORK, space(), table_in(folder))
    for number in range(count):
        keep = 8 if number % 2 else 16
        recipe = Recipe(keep={"layer1": keep})
        predictor.learn(recipe, 0.2 + 0.8 * keep / 32, 0.01, reference_s=reference_s)


def test_a_calibrated_table_predicts_before_the_data_sheet_does(tmp_path):
    calibrated(tmp_path)
    model = model_in(tmp_path, replace(PROFILE, datasheet=SHEET))
    assert f"latency table of {FEWEST} measurements on {ENVIRONMENT.cpu_model}" in model.source
    assert model.seconds(Recipe()) == pytest.approx(2e-3)
    assert model.seconds(Recipe(keep={"layer1": 16})) == pytest.approx(1.2e-3, rel=0.05)


def test_the_error_of_a_table_is_that_of_measurements_predicted_from_those_before_them(tmp_path):
    calibrated(tmp_path, count=3 * FEWEST)
    model = model_in(tmp_path)
    assert model.error is not None and model.error < 0.05
    assert "(median)" in model.source


@pytest.mark.parametrize(
    "options", [{"count": FEWEST - 1}, {"reference_s": None}], ids=["too small", "no seconds"]
)
def test_a_table_that_cannot_tell_seconds_leaves_it_to_the_data_sheet(tmp_path, options):
    calibrated(tmp_path, **options)
    assert "roofline" in model_in(tmp_path, replace(PROFILE, datasheet=SHEET)).source
    assert model_of(PROFILE, NETWORK, space(), batch=1, folder=tmp_path) is None


def test_predicting_adds_nothing_to_the_tables_of_devices(tmp_path):
    calibrated(tmp_path)
    before = [path.read_bytes() for path in tmp_path.glob("*.json")]
    table_model_in(tmp_path).predictor.learn(Recipe(keep={"layer0": 8}), 0.5, 0.01)
    assert [path.read_bytes() for path in tmp_path.glob("*.json")] == before


def test_another_table_or_data_sheet_is_another_identity(tmp_path):
    sheets = [replace(PROFILE, datasheet=replace(SHEET, overhead_s=overhead)) for overhead in (1e-6, 2e-6)]
    identities = [model_in(tmp_path, profile).identity for profile in sheets]
    calibrated(tmp_path)
    identities.append(model_in(tmp_path).identity)
    assert len({json.dumps(identity) for identity in identities}) == 3


def test_what_other_models_have_told_the_table_is_part_of_its_identity(tmp_path):
    calibrated(tmp_path)
    one = table_model_in(tmp_path)
    coefficient = Coefficient(mean=1e-9, deviation=1e-12)
    table_in(tmp_path).tell("another model", dict.fromkeys(one.predictor.terms.names, coefficient))
    two = table_model_in(tmp_path)
    assert one.seconds(INT8) != two.seconds(INT8) and one.identity != two.identity


def test_a_target_that_nothing_predicts_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    away = FoundTarget(
        profile=PROFILE, address=parse_target("fake"), environment=None, away="It is unplugged."
    )
    with pytest.raises(
        TargetUnavailable, match=r"unplugged.*cannot be predicted either.*calibrate.*datasheet"
    ):
        predicted_if_away(away, NETWORK, space(), batch=1, needed=True)
    assert predicted_if_away(away, NETWORK, space(), batch=1, needed=False) is away


# --- another type


PREDICTED = Predicted(latency=PredictedLatency(seconds=1e-3, source="a leaflet"), ratio=0.5, error=0.1)


def test_a_predicted_latency_shares_no_key_with_a_measured_one():
    assert not PREDICTED.to_json().keys() & latency(0.5).to_json().keys()
    assert not {"interval_s", "latency_s", "noisy"} & asdict(PREDICTED).keys()


@pytest.mark.parametrize("value", [PREDICTED, latency(0.5)], ids=["predicted", "measured"])
def test_a_latency_of_either_kind_comes_back_from_json_as_what_it_was(value):
    assert latency_from_json(Fields(json.loads(json.dumps(value.to_json())), "latency")) == value


# --- everything that shows a run


def predicted_view() -> RunOn:
    return RunOn.of(predicted_run(), "cpu")


def unmarked(text: str, view: RunOn) -> list[str]:
    """The latencies and ratios of the run's points that stand in the text without `~`."""
    bare: list[str] = []
    for point in [view.baseline, present(view.uniform_int8), *view.front]:
        seconds, ratio = point.latency.seconds, point.latency.ratio
        for value in (f"{1e3 * seconds:.3f} ms", f"{1e3 * seconds:.3f} ±"):
            bare += re.findall(rf"(?<![~\d.]){re.escape(value)}", text)
        bare += re.findall(rf"latency[^.<]{{0,20}}(?<![~\d.]){re.escape(f'{ratio:.2f}×')}", text)
    return bare


def test_the_report_marks_every_prediction_and_says_what_it_comes_from():
    view = predicted_view()
    page = render(view.run)
    assert not unmarked(page, view)
    assert page.count("~") > 20 and "are predicted, not measured, from the roofline of a leaflet" in page
    assert "Measured on" not in page and "~ predicted latency" in page
    assert '"error_x":{' not in page.replace(" ", "")


def test_the_check_above_would_find_a_prediction_without_its_mark():
    view = predicted_view()
    assert unmarked(f"latency {1e3 * view.baseline.latency.seconds:.3f} ms", view)


def text_of(run: Run) -> str:
    """The table of a run as text."""
    console = Console(width=220, record=True, file=io.StringIO())
    console.print(front_table(run))
    return console.export_text()


def test_the_table_marks_every_prediction_and_has_no_spread_of_a_latency():
    view = predicted_view()
    text = text_of(view.run)
    for point in view.front:
        assert f"~{1e3 * point.latency.seconds:.3f} " in text
    assert not unmarked(text, view) and "not measured" in text


def test_no_column_of_a_measured_latency_holds_a_prediction():
    for record in front_records(predicted_view()):
        measured = (
            "latency_s",
            "latency_low_s",
            "latency_high_s",
            "latency_ratio",
            "p99_s",
            "noisy",
            "peak_memory_bytes",
        )
        assert [record[name] for name in measured] == [None] * 7
        assert record["predicted_latency_s"] > 0 and record["prediction_source"] == "roofline of a leaflet"


def test_why_speaks_of_predictions_with_their_mark_and_tells_none_apart():
    view = predicted_view()
    assert why_json(view)["indistinguishable"] == ()
    assert not unmarked("\n".join(why_lines(view)), view)


def test_pick_marks_what_it_refuses():
    view = predicted_view()
    with pytest.raises(NothingMeets) as error:
        pick(view.run, {"cpu": Limits(latency_s=1e-9)})
    assert "No point has" in str(error.value) and not unmarked(str(error.value), view)
    assert "latency by ~" in str(error.value) and error.value.misses
    assert limits_text(view.run, {"cpu": Limits(latency_s=1e-3)}) == "latency ≤ 1.000 ms"


def test_the_manifest_of_a_bundle_says_that_its_latency_is_predicted(tmp_path):
    point = predicted_view().front[0]
    value = manifest_in(tmp_path, point)
    latency = value["metrics"]["latency"]
    assert latency["predicted_s"] == point.latency.seconds
    assert "latency_s" not in latency and "original_s" not in latency
    assert value["target"]["predicted"]["source"] == "roofline of a leaflet"


def test_the_script_of_a_bundle_does_not_say_that_anything_was_measured():
    for runtime in runtime_folders():
        for packed in (True, False):
            assert "measured" not in run_script(runtime, packed=packed)


def manifest_in(folder: Path, point: PointOn) -> dict[str, Any]:
    """What manifest.json says of the point, whose model is in the folder."""
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [])
    onnx.save(onnx.helper.make_model(graph), folder / "model.onnx")
    return manifest_of(point, folder / "model.onnx", reference="none").to_json()


# --- whole searches


def test_without_the_flag_an_unplugged_board_ends_the_search_with_a_sentence_that_names_it(desk):
    with pytest.raises(TargetUnavailable, match=r"Target 'edge'.*No route to host.*--allow-predicted"):
        desk.search(allow=False)


@pytest.mark.serial
@pytest.mark.slow
def test_a_board_that_comes_back_is_another_run(desk):
    first = desk.search()
    (target,) = first.targets
    assert target.environment.runtime == "predicted" and "roofline" in target.prediction.source
    original = first.baseline.measured["edge"]
    assert original.latency.ratio == 1.0 and isinstance(original.latency, Predicted)
    assert original.quality.test is not None  # by the stand-in
    assert {row.precision_executed for row in original.layers} == {None}
    predicted_in, desk.board.plugged = desk.directory, True
    second = desk.search()
    assert desk.directory != predicted_in
    assert isinstance(second.baseline.measured["edge"].latency, Latency)
    assert second.targets[0].prediction is None


@pytest.mark.serial
def test_a_predicted_run_goes_on_as_long_as_its_predictions_are_the_same(desk):
    desk.search(trials=2)
    before = desk.directory
    assert len(desk.search(trials=3).points) == 3 and desk.directory == before
    sheet = desk.folder / "edge.toml"
    sheet.write_text(sheet.read_text().replace("overhead_s = 1e-6", "overhead_s = 5e-6"))
    desk.search(trials=2)
    assert desk.directory != before


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.parametrize("order", ["cpu,edge.toml", "edge.toml,cpu"])
def test_of_several_targets_only_the_one_that_is_away_is_predicted(desk, order):
    run = desk.search(targets=order)
    measured = run.baseline.measured
    assert isinstance(measured["cpu"].latency, Latency) and isinstance(measured["edge"].latency, Predicted)
    assert {target.name: target.prediction is not None for target in run.targets} == {
        "cpu": False,
        "edge": True,
    }
    cells = [column.cell(run.baseline) for column in columns(run)]
    assert sum("~" in cell for cell in cells) == 2
    assert "Latencies on edge are predicted" in render(run)
    # without the flag, edge is away: its predictions are not mixed with what would be queued for it
    mixed = desk.directory
    desk.search(targets=order, allow=False)
    assert desk.directory != mixed
