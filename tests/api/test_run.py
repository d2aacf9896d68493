"""A run and its points as Python objects: the numbers of front.json, and the rules of the commands."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import autocompress as ac
import pytest
from autocompress.errors import InputError, RunDirectoryError
from autocompress.results.pick import NothingMeets
from autocompress.results.run_directory import write_run
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two


@pytest.fixture
def run(tmp_path: Path) -> ac.Run:
    write_run(tmp_path, sample_run())
    return ac.Run.open(tmp_path)


@pytest.fixture
def run_of_two(tmp_path: Path) -> ac.Run:
    write_run(tmp_path, sample_run_of_two())
    return ac.Run.open(str(tmp_path))


def test_a_run_has_the_points_and_the_front_of_the_file(run: ac.Run) -> None:
    record = sample_run()
    assert [point.trial for point in run.points] == [point.trial for point in record.points]
    assert [point.trial for point in run.front] == [point.trial for point in record.front]
    assert (run.original.trial, run.original.latency_ratio, run.original.drop) == (0, 1.0, 0.0)
    assert set(run.front) <= set(run.points) and run.recommended in run.points


def test_a_point_has_its_numbers_beside_the_original(run: ac.Run) -> None:
    for point in run.points:
        assert point.latency_s > 0 and point.size_bytes > 0 and not point.predicted
        assert point.size_ratio == pytest.approx(point.size_bytes / run.original.size_bytes)
        assert point.path.parent == run.path / "artifacts"
        assert point.drop_interval is None or point.drop_interval[0] <= point.drop <= point.drop_interval[1]


def test_pick_takes_limits_as_the_command_does(run: ac.Run) -> None:
    point = run.pick(max_drop="50pp", minimize="size")
    assert point.size_bytes == min(each.size_bytes for each in run.points)
    with pytest.raises(InputError, match="has no unit"):
        run.pick(max_drop="1")
    with pytest.raises(InputError, match="choose latency, size, drop"):
        run.pick(minimize="cost")  # type: ignore[arg-type]
    with pytest.raises(NothingMeets):
        run.pick(max_latency="1ns")


def test_of_several_targets_a_point_shows_the_one_on_which_it_is_slowest(run_of_two: ac.Run) -> None:
    assert run_of_two.targets == ("cpu", "edge")
    for point in run_of_two.points:
        ratios = {name: point.on(name).latency_ratio for name in point.record.measured}
        assert point.latency_ratio == max(ratios.values()) == ratios[point.target]
    with pytest.raises(InputError, match="choose 'cpu' or 'edge'"):
        run_of_two.original.on("egde")
    limited = run_of_two.pick(max_latency="cpu=1s,edge=2s")
    assert limited.trial in {point.trial for point in run_of_two.points}


def test_an_unknown_trial_and_a_folder_without_a_run_are_one_sentence(run: ac.Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no measured trial 999"):
        run.point(999)
    with pytest.raises(RunDirectoryError):
        ac.Run.open(tmp_path / "nothing")


def test_a_table_has_a_row_for_each_point_and_target(run_of_two: ac.Run) -> None:
    frame = run_of_two.to_pandas()
    counted = sum(len(point.record.measured) for point in run_of_two.points)
    assert len(frame) == counted and set(frame["target"]) == {"cpu", "edge"}
    original = frame[frame["trial"] == 0].iloc[0]
    assert original["latency_ratio"] == 1.0 and original["layers_quantized"] == 0
    assert {"drop", "drop_low", "drop_high", "latency_s", "size_bytes", "recipe"} <= set(frame.columns)


def test_layers_are_rows(run: ac.Run) -> None:
    point = run.front[0]
    frame = run.layers(point).to_pandas()
    assert list(frame["name"]) == [row.name for row in point.view.layers]


def test_a_run_without_measurements_has_none(run: ac.Run) -> None:
    assert list(run.measurements()) == []


def test_a_report_goes_to_the_run_or_elsewhere(run: ac.Run, tmp_path: Path) -> None:
    assert run.report() == run.path / "report.html"
    elsewhere = run.report(tmp_path / "other.html")
    assert elsewhere.stat().st_size == (run.path / "report.html").stat().st_size > 100_000


def test_runs_and_points_show_themselves_as_html_in_which_nothing_acts(run: ac.Run) -> None:
    shown = run._repr_html_()
    assert shown.count("<circle") == len(run.points) and "★" in shown
    assert "<script" not in shown + run.front[0]._repr_html_() and "original" in run.front[0]._repr_html_()
    assert "on the front" in repr(run) and "latency" in repr(run.front[0])


def test_a_thousand_points_are_a_table(tmp_path: Path) -> None:
    record = sample_run()
    last = record.points[-1]
    many = tuple(replace(last, trial=1000 + number) for number in range(1000 - len(record.points)))
    run = ac.Run(path=tmp_path, record=replace(record, points=(*record.points, *many)))
    assert len(run.to_pandas()) == 1000


def test_opening_a_run_imports_neither_torch_nor_pandas(run: ac.Run) -> None:
    code = (
        "import sys, autocompress.api as ac; ac.Run.open(sys.argv[1]).front; "
        "print([name for name in ('torch', 'pandas', 'optuna', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
