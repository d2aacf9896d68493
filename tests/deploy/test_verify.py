"""verify: a front and a bundle against what a target measures now; what is regressed, and what an
interruption leaves.
"""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from autocompress.cli.commands import app
from autocompress.compress.recipe import Recipe
from autocompress.deploy.asked_targets import asked_targets
from autocompress.deploy.bundle import write_bundle
from autocompress.deploy.given_task import GivenTask
from autocompress.deploy.read_bundle import is_bundle
from autocompress.deploy.unfinished import FileNow
from autocompress.deploy.verify import ROOM, Stated, looked_at, quality_fell, refuse_lost, regressions
from autocompress.deploy.verify_bundle import SAMPLES, _parity, tolerance_of, verify_bundle
from autocompress.deploy.verify_run import verify_run
from autocompress.errors import InputError, RunDirectoryError, StageError, TargetUnavailable
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import MetricFacts
from autocompress.results.records.point import Quality
from autocompress.results.records.verification import AwayTarget
from autocompress.results.records.verification_versions import json_for_scripts
from autocompress.results.report.page import render
from autocompress.results.run_directory import RunDirectory, read_run, write_run
from autocompress.results.view import RunOn
from autocompress.results.words.verified import bundle_lines, run_lines
from autocompress.targets.target import TargetSession
from autocompress.tests.deploy.small_run import PREDICTION, latency, small_run, target
from autocompress.tests.deploy.test_verify_files import MEASURED, verification
from autocompress.tests.explore.predicting import QUICK, Desk, make_desk
from autocompress.tests.present import present
from autocompress.tests.profiles.records import measurement
from autocompress.tests.results.energies import energy
from typer.testing import CliRunner


def silent(text: str) -> None:
    pass


# --- what counts as regressed


def point_of(folder: Path, **changes):
    """The second point of the small run on its only target, with these changes of the target."""
    return RunOn.of(small_run(folder, replace(target(), **changes)), "cpu").points[1]


def test_a_latency_is_regressed_only_beyond_its_interval_and_the_room(tmp_path):
    point = point_of(tmp_path)
    low, high = point.latency.ratio_interval
    for extra, same, expected in [
        (-0.001, True, ()),
        (0.001, True, ("slower than was measured",)),
        (0.001, False, ()),
    ]:
        file = FileNow(latency=latency(0.5 * high / low * (1 + ROOM + extra)))
        assert regressions(point, file, same=same) == expected


@pytest.mark.parametrize(
    ("original", "value", "regressed"),
    [
        (0.90, 0.884, ()),  # a drop of 1.6 points: 1 to 2 of them were stated
        (0.90, 0.879, ("loses quality",)),
        (0.88, 0.865, ()),  # another runtime answers both a little worse
        (None, 0.881, ()),  # the metric alone is known far worse
    ],
)
def test_a_drop_is_regressed_beyond_its_own_interval(tmp_path, original, value, regressed):
    point = point_of(tmp_path)
    low, high = point.drop - 0.005, point.drop + 0.01
    point = replace(point, measured=replace(point.measured, drop_interval=(low, high)))
    file = FileNow(latency=point.latency, quality=value)
    assert regressions(point, file, original=original, same=True) == regressed


def test_a_wrong_prediction_is_no_regression_unless_a_limit_breaks(tmp_path):
    file = FileNow(latency=latency(1.5))
    point = point_of(tmp_path, prediction=PREDICTION)
    assert regressions(point, file, same=True) == ()
    limit = Constraints(max_latency_s=1.1 * point.latency.seconds)
    point = point_of(tmp_path, prediction=PREDICTION, constraints=limit)
    assert regressions(point, file, same=True) == ("breaks the latency limit",)


def test_an_hour_in_which_the_machine_is_slow_breaks_no_limit(tmp_path):
    limit = Constraints(max_latency_s=0.52e-3)
    point = point_of(tmp_path, constraints=limit)
    slow = replace(latency(0.5), latency_s=1e-3, interval_s=(0.9e-3, 1.1e-3))
    assert regressions(point, FileNow(latency=slow), same=True) == ()
    assert regressions(point, FileNow(latency=slow), same=False) == ("breaks the latency limit",)
    assert regressions(point, FileNow(latency=latency(0.53)), same=True) == ("breaks the latency limit",)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.5, ()), (0.51, ()), (0.6, ("breaks the energy limit",))],
    ids=["as stated", "within its interval", "more"],
)
def test_an_energy_above_the_limit_that_was_kept_is_a_regression(tmp_path, ratio, expected):
    point = point_of(tmp_path, constraints=Constraints(max_energy_j=2.02e-3))
    counted = replace(point.latency, energy=energy(0.5))
    point = replace(point, measured=replace(point.measured, latency=counted))
    warm = energy(ratio, original_j=9e-3)  # the machine uses more of everything tonight
    file = FileNow(latency=replace(point.latency, energy=warm))
    assert regressions(point, file, same=True) == expected
    assert regressions(point, file, same=False) == ("breaks the energy limit",)
    assert regressions(point, FileNow(latency=latency(0.5)), same=True) == ()


def test_what_seems_slower_is_measured_again_and_once_more():
    asked, seen = [], [measurement(1.0, 1.0), measurement(0.5, 0.5), measurement(1.0, 1.0)]

    def measure(timing):
        asked.append(timing.round)
        return seen[timing.round - 1]

    stated = (0.49, 0.51)
    assert looked_at(measure, QUICK, stated=stated, note=silent).ratio == 0.5 and asked == [1, 2]
    seen[1] = seen[0]
    assert looked_at(measure, QUICK, stated=stated, note=silent).ratio == 1.0 and asked == [1, 2, 1, 2, 3]
    assert looked_at(measure, QUICK, stated=None, note=silent).ratio == 1.0 and asked[5:] == [1]


def test_a_file_that_cannot_be_run_is_regressed(tmp_path):
    failed = FileNow(failure="build: no kernel")
    assert regressions(point_of(tmp_path), failed, same=True) == ("cannot be measured, build: no kernel",)


def test_the_points_of_all_targets_and_of_each_are_verified(tmp_path):
    run = small_run(tmp_path, target("cpu"), target("edge"))
    stated = Stated.of(tmp_path, run, "edge")
    assert [point.trial for point in stated.points] == [0, 1] and stated.view.target.name == "edge"
    assert Stated.of(tmp_path, run, "another").view.target.name == "cpu"


@pytest.mark.parametrize("kind", ["noisy", "device"])
def test_a_target_that_is_lost_or_restless_says_nothing_of_the_file(kind):
    with pytest.raises(TargetUnavailable, match="the same command goes on"):
        refuse_lost(StageError("It is.", stage="measure", kind=kind), "edge")
    refuse_lost(StageError("No kernel.", stage="build"), "edge")  # which does


@pytest.mark.parametrize(
    ("direction", "interval", "value", "fell"),
    [
        ("higher", (0.88, 0.92), 0.879, True),
        ("higher", (0.88, 0.92), 0.881, False),
        ("lower", (0.88, 0.92), 0.921, True),
        ("lower", (0.88, 0.92), 0.5, False),
        ("higher", None, 0.9 * 0.98, True),
        ("higher", None, 0.9 * 0.995, False),
    ],
)
def test_a_metric_fell_below_its_interval_or_by_more_than_a_hundredth(direction, interval, value, fell):
    metric = MetricFacts(name="metric", direction=direction, unit="")
    assert quality_fell(Quality(validation=0.9, interval=interval), value, metric) is fell


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
    recipe = Recipe(precision={f"layer{n}": name for n, name in enumerate(precisions)})
    assert tolerance_of(recipe) == tolerance


# --- real runs


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return make_desk(tmp_path, monkeypatch)


def verified(desk: Desk, others: str = ""):
    """What `verify` says of the desk's run, on its board and on others."""
    folder = desk.folder / "temporary"
    folder.mkdir(exist_ok=True)
    return verify_run(
        desk.run,
        others + str(desk.folder / "edge.toml"),
        folder=folder,
        say=silent,
        note=silent,
        task=GivenTask(spec=f"{desk.folder / 'task.py'}:make"),
        timing=QUICK,
    )


@pytest.mark.serial
def test_a_predicted_run_is_verified_on_the_board_and_an_interruption_loses_nothing(desk):
    desk.search(trials=6)
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
    whole = verified(desk)
    (found,) = whole.targets
    assert (
        done == 1 and desk.board.measured == len(found.points) - 1
    )  # the original beside itself is no candidate's
    assert read_run(desk.run).verification == whole
    assert not [name for name in ("verify-unfinished.json", "verify.db") if (desk.run / name).exists()]
    assert all(
        point.predicted and point.latency.latency_s > 0 and point.quality is not None
        for point in found.points
    )
    point = found.points[1]
    assert point.error == pytest.approx(point.earlier_s / point.latency.latency_s - 1)
    assert found.prediction_error.count == len(found.points)
    assert found.prediction.source.startswith("roofline")
    lines = run_lines(whole)
    assert lines[1].split("  ")[0] == "original" and " ~" in lines[1]
    assert "Verified on edge" in render(read_run(desk.run))
    (value,) = json_for_scripts(whole)["targets"]
    (desk.run / "verify.json").write_text(json.dumps({**value, "schema_version": 1}))  # it knew one target
    assert "Verified on edge" in render(read_run(desk.run))
    assert run_lines(present(read_run(desk.run).verification)) == lines
    desk.board.measured = 0
    verified(desk)
    assert desk.board.measured == len(found.points) - 1  # a finished one is measured anew
    # the bundle says what was predicted, and verify what is true
    point = RunOn.of(read_run(desk.run), "edge").front[0]
    bundle = desk.folder / "bundle"
    write_bundle(point, desk.run / point.artifact.file, bundle)
    assert is_bundle(bundle) and not is_bundle(desk.run)
    check_bundle(desk, bundle)
    (desk.run / point.artifact.file).write_bytes(b"another")
    with pytest.raises(RunDirectoryError, match="is not the file that the run describes"):
        verified(desk)


def check_bundle(desk: Desk, bundle: Path) -> None:
    def seen(target: str | None = "cpu-avx2"):
        return verify_bundle(
            bundle,
            target,
            folder=desk.folder / "temporary",
            say=silent,
            note=silent,
            task=GivenTask(spec=f"{desk.folder / 'task.py'}:make"),
            timing=QUICK,
        )

    found = seen()
    now, manifest = found.measured, found.manifest
    assert found.regressed == () and now.parity.error <= 1e-6
    assert manifest.latency.seconds > 0 and now.quality == pytest.approx(manifest.quality.validation)
    assert found.to_json()["latency"]["stated"]["predicted_s"] == manifest.latency.seconds
    assert list(found.to_json()) == [
        *("schema_version", "bundle", "target", "checksums", "environment", "parity", "latency"),
        *(
            "reference",
            "drift_s",
            "not_compared",
            "quality",
            "quality_not_verified",
            "task_differs",
            "regressed",
            "skipped",
        ),
    ]
    assert "the manifest says ~" in "\n".join(bundle_lines(found))
    with pytest.raises(InputError, match="give its TOML file, or its address, with"):
        seen(None)
    assert np.isfinite(now.latency.latency_s)


@pytest.mark.serial
def test_all_targets_of_a_run_are_verified_and_one_that_is_away_is_caught_up(desk, monkeypatch):
    run = desk.search(targets="cpu,edge.toml", trials=2)  # edge is unplugged: predicted
    found = verified(desk, "cpu,")
    assert [result.target for result in found.targets] == ["cpu"] and not found.regressed
    (away,) = found.away
    assert (away.name, "No route to host" in away.reason) == ("edge", True)
    first, *_, last = run_lines(found)
    assert (first, last.partition(": Target")[0]) == (
        "on cpu",
        "Not verified on edge, the same command goes on with it",
    )
    assert (
        "Not verified on edge" in render(read_run(desk.run))
        and (desk.run / "verify-unfinished.json").exists()
    )
    desk.board.plugged, before = True, present(read_run(desk.run).verification).targets[0]
    with monkeypatch.context() as patch:
        patch.setattr(desk.other, "plugged", False)
        found = verified(desk, "cpu,")
    assert found.away == () and desk.board.measured > 0
    assert present(read_run(desk.run).verification).targets[0] == before, (
        "cpu was not measured again, and may be away"
    )
    joint = {point.trial for point in run.front}
    for result, predicted in zip(found.targets, (False, True), strict=True):
        assert {point.predicted for point in result.points} == {predicted}
        assert joint <= {point.trial for point in result.points}, (
            "the joint front is verified on every target"
        )
    page = render(read_run(desk.run))
    assert ("Verified on cpu" in page, "Verified on edge" in page, "Not verified" in page) == (
        True,
        True,
        False,
    )


def test_a_run_that_somebody_works_on_is_not_verified(tmp_path):
    write_run(tmp_path, small_run(tmp_path))
    with (
        RunDirectory.hold(tmp_path, by="verify"),
        pytest.raises(RunDirectoryError, match=r"verify \(process \d+\): wait for it, or"),
    ):
        verify_run(tmp_path, "cpu", folder=tmp_path, say=silent, note=silent)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("edge.toml@you@board:2222,cpu@a", {"edge": "edge.toml@you@board:2222", "cpu@a": "cpu@a"}),
        ("cpu@you@a", {"cpu@a": "cpu@you@a"}),
        ("edge.toml", {"edge": "edge.toml"}),
        ("cpu@elsewhere,cpu-2t", {"cpu": "cpu@elsewhere", "cpu-2t": "cpu-2t"}),
    ],
)
def test_targets_are_called_as_the_run_calls_them(asked, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edge.toml").write_text('inherits = "cpu"\n')
    (tmp_path / "run.toml").write_text(
        '[identity]\n[options]\ntarget = "edge.toml@me@board:2222,cpu@me@a,cpu@me@b"\n'
    )
    found, away = asked_targets(tmp_path, small_run(tmp_path, target("edge"), target("cpu@a")), asked)
    assert {one.profile.name: str(one.address) for one in found} == expected and not away


def test_a_target_that_is_named_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="twice: give each target once"):
        asked_targets(tmp_path, small_run(tmp_path), "cpu,cpu")


@pytest.mark.parametrize(
    ("regressed", "away", "code"), [(False, [], 0), (False, ["edge"], 3), (True, ["edge"], 4), (True, [], 4)]
)
def test_a_target_that_is_away_is_exit_code_3_unless_something_regressed(
    regressed, away, code, tmp_path, monkeypatch
):
    target_of = replace(MEASURED, regressed=("loses quality",) if regressed else ())
    names = tuple(AwayTarget(name=name, address=name, reason="No route to host.") for name in away)
    found = replace(verification(target_of), away=names)
    monkeypatch.setattr("autocompress.deploy.verify_run.verify_run", lambda *_, **__: found)
    monkeypatch.setattr("autocompress.cli.verify._check_early", lambda *_, **__: None)
    ended = CliRunner().invoke(app, ["verify", str(tmp_path), "--json"])
    assert ended.exit_code == code
    assert json.loads(ended.stdout) == json.loads(json.dumps(json_for_scripts(found)))


def test_a_folder_of_bundles_is_told_from_a_run(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"bundles of several targets: .* like .*/cpu\.$"):
        verify_run(tmp_path, None, folder=tmp_path, say=silent, note=silent)


def test_a_bundle_inside_a_run_keeps_it_from_nothing(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    write_run(tmp_path, small_run(tmp_path))
    (tmp_path / "artifacts/1.onnx").unlink()
    with pytest.raises(RunDirectoryError, match="is gone: run the search's command again"):
        verify_run(tmp_path, "cpu", folder=tmp_path, say=silent, note=silent)


def test_a_verify_json_of_a_newer_version_hides_nothing_else_of_the_run(tmp_path):
    write_run(tmp_path, small_run(tmp_path))
    (tmp_path / "verify.json").write_text('{"schema_version": 4, "new": []}')
    page = render(read_run(tmp_path))
    assert (
        "of schema version 4: it is shown by the version that wrote it" in page and "Verified on" not in page
    )


def test_nothing_is_written_to_what_is_no_run(tmp_path):
    with pytest.raises(RunDirectoryError, match="is no run directory"):
        verify_run(tmp_path, None, folder=tmp_path, say=silent, note=silent)
    assert not list(tmp_path.iterdir())


def test_a_run_whose_files_are_gone_is_told_before_anything_is_measured(tmp_path):
    write_run(tmp_path, small_run(tmp_path))
    (tmp_path / "artifacts/1.onnx").unlink()
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
        "autocompress.deploy.verify_bundle.stand_in", lambda _: Reference()
    )  # whose sums are exact by its profile
    found = _parity(cast(TargetSession, Session()), tmp_path, tmp_path, Recipe(), batch=1)
    assert asked == [True, False] and found.error == 0.0
