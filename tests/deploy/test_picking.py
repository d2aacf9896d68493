"""`pick` and `front` from the command line: the star, a named trial, nothing slower than the original."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.results.records.run import Run
from autocompress.results.run_directory import write_run
from autocompress.tests.deploy.small_run import latency, small_run
from typer.testing import CliRunner


def written(folder: Path, run: Run) -> Path:
    write_run(folder, run)
    return folder


def with_ratio(run: Run, ratio: float) -> Run:
    """The run with an int8 point that is this fast, and loses next to nothing."""
    original, other = run.points
    there = replace(other.measured["cpu"], latency=latency(ratio), drop=0.001)
    return replace(run, points=(original, replace(other, outcomes={"cpu": there})))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    return written(folder, with_ratio(small_run(folder), 0.5))


@pytest.fixture
def slow(tmp_path):
    """A run whose int8 point is not shown to be as fast: 0.995 ± 1 %."""
    folder = tmp_path / "slow"
    return written(folder, with_ratio(small_run(folder), 0.995))


def picked(run, out, *options):
    """What `pick` says, and the trial in the bundle; None without one."""
    ended = CliRunner().invoke(app, ["pick", str(run), "--out", str(out), *options])
    manifest = out / "manifest.json"
    recipe = json.loads(manifest.read_text())["recipe"] if manifest.is_file() else None
    trial = None if recipe is None else int(bool(recipe["precision"]))
    return ended, trial


def test_pick_without_limits_takes_the_star_of_front_which_prints_the_command(run, tmp_path):
    shown = CliRunner().invoke(app, ["front", str(run)]).stdout
    assert "★ uniform" in shown
    command = shown.splitlines()[-1]
    assert command == f"Next:   autocompress pick {run} --trial 1 --out bundle"
    assert picked(run, tmp_path / "a")[1] == 1
    assert picked(run, tmp_path / "b", *command.split()[4:6])[1] == 1


def test_the_original_is_handed_out_and_said_where_nothing_is_shown_to_be_as_fast(slow, tmp_path):
    ended, trial = picked(slow, tmp_path / "out")
    assert (ended.exit_code, trial) == (0, 0)
    assert (
        "This is the original: no compressed point with drop ≤ 1.00 pp is shown to be no slower"
        in ended.output
    )


def test_a_point_that_may_be_slower_needs_the_option(slow, tmp_path):
    ended, trial = picked(slow, tmp_path / "out", "--trial", "1")
    assert (ended.exit_code, trial) == (2, None)
    assert "add --allow-slower to take it all the same" in " ".join(ended.output.split())
    assert picked(slow, tmp_path / "a", "--trial", "1", "--allow-slower")[1] == 1
    assert picked(slow, tmp_path / "b", "--allow-slower")[1] == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trial", "9"], "no measured trial 9"),
        (["--trial", "1", "--max-drop", "1pp"], "leave out the limits and --minimize"),
        (["--trial", "1", "--minimize", "size"], "leave out the limits and --minimize"),
    ],
)
def test_a_wrong_trial_is_one_sentence_and_writes_nothing(run, tmp_path, options, told):
    ended, trial = picked(run, tmp_path / "out", *options)
    assert (ended.exit_code, trial) == (2, None) and told in " ".join(ended.output.split())
