"""verify: a front and a bundle against what a target measures now; what is regressed, and what an
interruption leaves.
"""

import json
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from autocompress.cli.app import app
from autocompress.deploy.bundle import write_bundle
from autocompress.deploy.verify import ROOM, _regressions, quality_fell, refuse_lost
from autocompress.deploy.verify_bundle import (
    SAMPLES,
    _manifest,
    _parity,
    is_bundle,
    tolerance_of,
    verify_bundle,
)
from autocompress.deploy.verify_run import _Kept, asked_targets, verify_run
from autocompress.errors import InputError, RunDirectoryError, StageError, TargetUnavailable
from autocompress.files import digest_of_file
from autocompress.results.report.page import render
from autocompress.results.run_directory import RunDirectory, read_run
from autocompress.results.verify_words import bundle_lines, run_lines
from autocompress.search.evaluation.several import load_targets
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.search.predicting import QUICK, Desk, make_desk, predicted_run
from typer.testing import CliRunner

METRIC = {"name": "accuracy", "direction": "higher", "unit": "fraction"}


def silent(text: str) -> None:
    pass


# --- what counts as regressed


def now(point, *, slower: float = 1.0, quality: float | None = None):
    """The point's own numbers, its latency so many times as long."""
    latency = dict(point["latency"])
    for key in ("interval_s", "ratio_interval"):
        latency[key] = [slower * end for end in latency[key]]
    return {"latency": latency, "quality": quality, "failure": None}


def test_a_latency_is_regressed_only_beyond_its_interval_and_the_room():
    run = sample_run()
    point = run["front"][0]
    low, high = point["latency"]["ratio_interval"]
    just, beyond = (high / low * (1 + ROOM + extra) for extra in (-0.001, 0.001))
    assert _regressions(point, now(point, slower=just), run, same=True) == []
    assert _regressions(point, now(point, slower=beyond), run, same=True) == ["slower than was measured"]
    assert _regressions(point, now(point, slower=beyond), run, same=False) == []


def test_a_wrong_prediction_is_no_regression_unless_a_limit_breaks():
    measured, run = sample_run()["front"][0], predicted_run()
    point = next(item for item in run["front"] if item["trial"] == measured["trial"])
    assert _regressions(point, now(measured, slower=3.0), run, same=True) == []
    run["constraints"]["max_latency_s"] = 1.1 * point["latency"]["predicted_s"]
    assert _regressions(point, now(measured, slower=3.0), run, same=True) == ["breaks the latency limit"]


def test_a_file_that_cannot_be_run_is_regressed():
    run = sample_run()
    failed = {"latency": None, "quality": None, "failure": "build: no kernel"}
    assert _regressions(run["front"][0], failed, run, same=True) == ["cannot be measured, build: no kernel"]


@pytest.mark.parametrize("kind", ["noisy", "device"])
def test_a_target_that_is_lost_or_restless_says_nothing_of_the_file(kind):
    with pytest.raises(TargetUnavailable, match="the same command goes on"):
        refuse_lost(StageError("It is.", stage="measure", kind=kind), "edge")
    refuse_lost(StageError("No kernel.", stage="build"), "edge")  # which does


@pytest.mark.parametrize(
    ("direction", "interval", "value", "fell"),
    [
        ("higher", [0.88, 0.92], 0.879, True),
        ("higher", [0.88, 0.92], 0.881, False),
        ("lower", [0.88, 0.92], 0.921, True),
        ("lower", [0.88, 0.92], 0.5, False),
        ("higher", None, 0.9 * 0.98, True),
        ("higher", None, 0.9 * 0.995, False),
    ],
)
def test_a_metric_fell_below_its_interval_or_by_more_than_a_hundredth(direction, interval, value, fell):
    assert quality_fell({"validation": 0.9, "interval": interval}, value, {"direction": direction}) is fell


@pytest.mark.parametrize(
    ("precisions", "tolerance"),
    [
        ([], 1e-3),
        (["block4"], 1e-3),
        (["float16"], 0.01),
        (["float16", "int8"], 0.05),
        (["fp8"], 0.05),
        (["int8_24"], 0.05),
    ],
)
def test_the_fewest_bits_decide_how_far_answers_may_differ(precisions, tolerance):
    assert tolerance_of({"precision": {f"layer{n}": name for n, name in enumerate(precisions)}}) == tolerance


# --- real runs


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return make_desk(tmp_path, monkeypatch)


def verified(desk: Desk, target: str | None = None):
    folder = desk.folder / "temporary"
    folder.mkdir(exist_ok=True)
    return verify_run(desk.run, target, folder=folder, say=silent, note=silent, timing=QUICK)


@pytest.mark.serial
def test_a_predicted_run_is_verified_on_the_board_and_an_interruption_loses_nothing(desk):
    desk.search(trials=3)
    with pytest.raises(TargetUnavailable, match=r"edge.*No route to host"):
        verified(desk)
    desk.board.plugged, desk.board.plan = (
        True,
        {2: 9},
    )  # the second candidate's measurement and those after it
    with pytest.raises(TargetUnavailable, match="was lost; the same command goes on"):
        verified(desk)
    assert not (desk.run / "verify.json").exists()
    done = desk.board.measured
    desk.board.plan = {}
    (found,) = verified(desk)["targets"]
    assert (
        done == 1 and desk.board.measured == len(found["points"]) - 1
    )  # the original beside itself is no candidate's
    assert json.loads((desk.run / "verify.json").read_text())["targets"] == json.loads(json.dumps([found]))
    assert not [name for name in ("verify-unfinished.json", "verify.db") if (desk.run / name).exists()]
    assert all(
        row["predicted"] and row["latency"]["latency_s"] > 0 and row["quality"]["now"] is not None
        for row in found["points"]
    )
    row = found["points"][1]
    assert row["error"] == pytest.approx(row["earlier_s"] / row["latency"]["latency_s"] - 1)
    assert found["count"] == len(found["points"]) and found["earlier"]["predicted"]["source"].startswith(
        "roofline"
    )
    lines = run_lines(read_run(desk.run)["verified"])
    assert lines[1].split("  ")[0] == "original" and " ~" in lines[1]
    assert "Verified on edge" in render(read_run(desk.run))
    (desk.run / "verify.json").write_text(
        json.dumps({**found, "schema_version": 1})
    )  # as it was when it knew one target
    assert (
        "Verified on edge" in render(read_run(desk.run))
        and run_lines(read_run(desk.run)["verified"]) == lines
    )
    desk.board.measured = 0
    verified(desk)
    assert desk.board.measured == len(found["points"]) - 1  # a finished one is measured anew
    # the bundle says what was predicted, and verify what is true
    run = read_run(desk.run)
    point = run["front"][0]
    bundle = desk.folder / "bundle"
    write_bundle(point, run, desk.run / point["artifact"]["file"], bundle)
    assert is_bundle(bundle) and not is_bundle(desk.run)
    check_bundle(desk, bundle)
    next((desk.run / "artifacts").glob("*.onnx")).write_bytes(b"another")
    with pytest.raises(RunDirectoryError, match="is not the file that the run describes"):
        verified(desk)


def check_bundle(desk: Desk, bundle: Path) -> None:
    def seen(target: str | None = "cpu-avx2"):
        return verify_bundle(
            bundle, target, folder=desk.folder / "temporary", say=silent, note=silent, timing=QUICK
        )

    found = seen()
    assert found["regressed"] == [] and found["parity"]["error"] <= 1e-6
    assert found["latency"]["stated"]["predicted_s"] > 0 and found["quality"]["now"] == pytest.approx(
        found["quality"]["stated"]
    )
    assert "the manifest says ~" in "\n".join(bundle_lines(found))
    with pytest.raises(InputError, match="give its TOML file with --target"):
        seen(None)
    manifest = bundle / "manifest.json"
    before = manifest.read_text()
    manifest.write_text(before.replace('"schema_version": 1', '"schema_version": 1 '))
    with pytest.raises(InputError, match=r"manifest\.json is not the file that was bundled"):
        seen()
    manifest.write_text(before)
    sums = bundle / "SHA256SUMS"
    sums.write_text(
        "".join(line for line in sums.read_text().splitlines(keepends=True) if "model.onnx" not in line)
    )
    with pytest.raises(InputError, match="does not cover the model"):
        seen()
    assert np.isfinite(found["latency"]["now"]["latency_s"])


@pytest.mark.serial
def test_all_targets_of_a_run_are_verified_and_one_that_is_away_is_caught_up(desk, monkeypatch):
    run = desk.search(targets="cpu,edge.toml", trials=2)  # edge is unplugged: predicted
    found = verified(desk)
    assert [result["target"]["name"] for result in found["targets"]] == ["cpu"] and not found["regressed"]
    (away,) = found["away"]
    assert (away["name"], "No route to host" in away["reason"]) == ("edge", True)
    first, *_, last = run_lines(found)
    assert (first, last.partition(": Target")[0]) == (
        "on cpu",
        "Not verified on edge, the same command goes on with it",
    )
    assert (
        "Not verified on edge" in render(read_run(desk.run))
        and (desk.run / "verify-unfinished.json").exists()
    )
    desk.board.plugged, before = True, read_run(desk.run)["verified"]["targets"][0]
    with monkeypatch.context() as patch:
        patch.setattr(desk.other, "plugged", False)
        found = verified(desk)
    assert found["away"] == [] and desk.board.measured > 0
    assert read_run(desk.run)["verified"]["targets"][0] == before, (
        "cpu was not measured again, and may be away"
    )
    joint = {point["trial"] for point in run["front"]}
    for result, predicted in zip(found["targets"], (False, True), strict=True):
        assert {row["predicted"] for row in result["points"]} == {predicted}
        assert joint <= {row["trial"] for row in result["points"]}, (
            "the joint front is verified on every target"
        )
    page = render(read_run(desk.run))
    assert ("Verified on cpu" in page, "Verified on edge" in page, "Not verified" in page) == (
        True,
        True,
        False,
    )


def test_what_an_unfinished_call_on_other_targets_left_is_not_used(tmp_path):
    one, both = load_targets("cpu"), load_targets("cpu,cpu-2t")
    kept = _Kept.open(tmp_path, list(both))
    kept.targets["cpu"] = {"key": "k", "rows": {"digest": 1}}
    kept.write()
    (tmp_path / "verify.db").write_text("measurements that would answer for new ones")
    assert _Kept.open(tmp_path, list(both)).targets == kept.targets
    assert _Kept.open(tmp_path, list(one)).targets == {}
    assert not list(tmp_path.iterdir())


def test_a_run_that_somebody_works_on_is_not_verified(tmp_path):
    (tmp_path / "front.json").write_text(json.dumps(sample_run()))
    with (
        RunDirectory.hold(tmp_path, by="verify"),
        pytest.raises(RunDirectoryError, match=r"verify \(process \d+\): wait for it, or"),
    ):
        verify_run(tmp_path, "cpu", folder=tmp_path, say=silent, note=silent)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, {"edge": "edge.toml@me@board:2222", "cpu@a": "cpu@me@a"}),
        ("edge,cpu@a", {"edge": "edge.toml@me@board:2222", "cpu@a": "cpu@me@a"}),
        ("cpu@you@a", {"cpu@a": "cpu@you@a"}),
        ("edge.toml", {"edge": "edge.toml"}),
        ("cpu@elsewhere,cpu-2t", {"cpu": "cpu@elsewhere", "cpu-2t": "cpu-2t"}),
    ],
)
def test_targets_are_called_as_the_run_calls_them(asked, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edge.toml").write_text('inherits = "cpu"\n')
    (tmp_path / "run.toml").write_text('[options]\ntarget = "edge.toml@me@board:2222,cpu@me@a,cpu@me@b"\n')
    run, notes = {"target": {}, "targets": [{"name": "edge"}, {"name": "cpu@a"}]}, []
    found = asked_targets(tmp_path, run, asked, note=notes.append)
    assert {one.profile.name: str(one.address) for one in found} == expected
    assert [note for note in notes if "'cpu@b' has measured nothing yet" in note] == notes and bool(
        notes
    ) == (asked is None)


def test_a_target_that_is_named_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="twice: give each target once"):
        asked_targets(tmp_path, sample_run(), "cpu,cpu", note=silent)


@pytest.mark.parametrize(
    ("regressed", "away", "code"), [(False, [], 0), (False, ["edge"], 3), (True, ["edge"], 4), (True, [], 4)]
)
def test_a_target_that_is_away_is_exit_code_3_unless_something_regressed(
    regressed, away, code, tmp_path, monkeypatch
):
    names = [{"name": name, "address": name, "reason": "No route to host."} for name in away]
    found = {"targets": [], "away": names, "regressed": regressed}
    monkeypatch.setattr("autocompress.deploy.verify_run.verify_run", lambda *_, **__: found)
    ended = CliRunner().invoke(app, ["verify", str(tmp_path), "--json"])
    assert ended.exit_code == code and json.loads(ended.stdout) == found


def test_a_folder_of_bundles_is_told_from_a_run(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"bundles of several targets: .* like .*/cpu\.$"):
        verify_run(tmp_path, None, folder=tmp_path, say=silent, note=silent)


def test_a_bundle_inside_a_run_keeps_it_from_nothing(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    (tmp_path / "front.json").write_text(json.dumps(sample_run()))
    with pytest.raises(RunDirectoryError, match="is gone: run the search's command again"):
        verify_run(tmp_path, "cpu", folder=tmp_path, say=silent, note=silent)


def test_a_toml_file_of_the_search_that_is_not_found_from_here_is_one_sentence(tmp_path):
    (tmp_path / "run.toml").write_text('[options]\ntarget = "boards/edge.toml@me@board"\n')
    run = {"target": {"name": "edge"}}
    for asked in (None, "edge"):
        with pytest.raises(InputError, match=r"not found from here: .* --target path/edge\.toml@me@board\.$"):
            asked_targets(tmp_path, run, asked, note=silent)


def test_a_verify_json_of_a_newer_version_hides_nothing_else_of_the_run(tmp_path):
    (tmp_path / "front.json").write_text(json.dumps(sample_run()))
    (tmp_path / "verify.json").write_text('{"schema_version": 3, "new": []}')
    page = render(read_run(tmp_path))
    assert (
        "of schema version 3: it is shown by the version that wrote it" in page and "Verified on" not in page
    )


def test_nothing_is_written_to_what_is_no_run(tmp_path):
    with pytest.raises(RunDirectoryError, match="is no run directory"):
        verify_run(tmp_path, None, folder=tmp_path, say=silent, note=silent)
    assert not list(tmp_path.iterdir())


def test_a_run_whose_files_are_gone_is_told_before_anything_is_measured(tmp_path):
    (tmp_path / "front.json").write_text(json.dumps(sample_run()))
    with pytest.raises(RunDirectoryError, match="is gone: run the search's command again"):
        verify_run(tmp_path, "cpu", folder=tmp_path, say=silent, note=silent)


def test_a_bundle_answers_what_its_model_says_where_fast_kernels_saturate(tmp_path, monkeypatch):
    asked = []

    class Session:
        def running_batch(self, count, *, measured):
            return count

        def run(self, model, inputs, *, batch, exact=False):
            asked.append(exact)
            return (np.ones((SAMPLES, 10)),)

    class Reference:
        @contextmanager
        def session(self):
            yield Session()

    monkeypatch.setattr(
        "autocompress.deploy.verify_bundle.stand_in", Reference
    )  # whose sums are exact by its profile
    found = _parity(Session(), tmp_path, tmp_path, {"recipe": {"precision": {}}}, batch=1)
    assert asked == [True, False] and found["error"] == 0.0


@pytest.mark.parametrize(("name", "good"), [("on_device/worker.py", True), ("../worker.py", False)])
def test_the_files_of_a_bundle_may_lie_in_its_folders_but_not_outside(name, good, tmp_path):
    bundle = tmp_path / "bundle"
    (bundle / "on_device").mkdir(parents=True)
    (bundle / "manifest.json").write_text('{"model": {"file": "model.onnx"}}')
    (bundle / "model.onnx").write_bytes(b"model")
    (bundle / name).write_text("pass")
    names = ("manifest.json", "model.onnx", name)
    (bundle / "SHA256SUMS").write_text(
        "".join(f"{digest_of_file(bundle / item)}  {item}\n" for item in names)
    )
    with nullcontext() if good else pytest.raises(InputError, match="is not the file that was bundled"):
        _manifest(bundle)
