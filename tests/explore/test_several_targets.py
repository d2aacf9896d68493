"""A whole search on two targets by the command line: every complete point is measured on both, and both get a
bundle.
"""

from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.results.run_directory import read_run
from autocompress.tests.restless import measuring
from autocompress.tests.waiting import SEARCH_PATIENCE_S
from typer.testing import CliRunner


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.timeout(800)
@pytest.mark.parametrize("targets", ["cpu,cpu-2t", "cpu,cpu-openvino"])
def test_a_search_on_two_targets_measures_on_both_and_makes_a_bundle_for_each(
    tmp_path: Path, targets: str
) -> None:
    path, names = tmp_path / "run", targets.split(",")
    command = ["search", "digits", "--target", targets, "--trials", "4", "--out", str(path), "--no-recovery"]
    done = measuring(*command, timeout_s=SEARCH_PATIENCE_S)
    assert done.returncode == 0, done.stderr
    run = read_run(path)
    assert (run.status, list(run.target_names), run.waiting) == ("finished", names, {})
    complete = [point for point in run.points if run.complete(point)]
    assert len(complete) >= 2 and run.front
    assert all(set(point.measured) == set(names) for point in complete)
    assert all(measured.latency.seconds > 0 for point in complete for measured in point.measured.values())
    assert [entry.hypervolume for entry in run.history] == sorted(entry.hypervolume for entry in run.history)
    assert all(run.only(name).history for name in names)
    bundle = tmp_path / "bundle"
    picked = CliRunner().invoke(app, ["pick", str(path), "--out", str(bundle)])
    assert picked.exit_code == 0, picked.output
    manifests = sorted(bundle.glob("**/manifest.json"))
    assert len(manifests) == 2, [str(file) for file in bundle.rglob("*")]
