"""Energies of a run: in its records, its table, JSON, report, and as a limit."""

import json
from dataclasses import replace

import numpy as np
import pytest
from autocompress.cli.commands import app
from autocompress.errors import InputError
from autocompress.profiles import Measurement, PairBlocks
from autocompress.results.limits import Constraints
from autocompress.results.pick import pick, resolved
from autocompress.results.records.energy import Energy
from autocompress.results.records.latency import Latency
from autocompress.results.records.reading import Fields
from autocompress.results.records.run import Run
from autocompress.results.report import write_report
from autocompress.results.run_directory import write_run
from autocompress.results.table import columns, notes_below
from autocompress.results.table_files import front_csv, front_value
from autocompress.results.view import RunOn
from autocompress.tests.profiles.records import measurement, pair
from autocompress.tests.results.energies import counted, energy, with_energies
from autocompress.tests.results.sample_run import sample_run, with_constraints
from scipy import stats
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def run() -> Run:
    """A run in which a sensor counted all points but one of the front; energy is as size."""
    made = sample_run()
    ratios = {point.trial: made.vector(point)[1] for point in made.points}
    del ratios[made.front[1].trial]
    return with_energies(made, ratios | {made.baseline.trial: 1.0})


def test_an_energy_is_the_mean_ratio_of_its_pairs_with_students_t():
    ratios = (0.50, 0.52, 0.51)
    seen = Energy.of([counted(*ratios)])
    assert seen is not None
    low, high = stats.t.interval(0.95, 2, loc=np.mean(ratios) / 2, scale=stats.sem(ratios) / 2)
    assert seen.ratio == pytest.approx(np.mean(ratios) / 2)
    assert seen.ratio_interval == pytest.approx((low, high))
    assert seen.energy_j == pytest.approx(seen.ratio * 2e-3)


def test_a_pairs_energy_is_that_of_all_blocks_because_a_counter_moves_in_steps():
    blocks = replace(pair(0.5, 0.5), baseline_j=(0.0, 4e-3), candidate_j=(1e-3, 0.0))
    assert blocks.energy_ratio == 0.25


def test_a_measurement_with_one_pair_that_was_not_counted_has_no_energy():
    seen = counted(0.5, 0.5)
    half = replace(seen, pairs=(seen.pairs[0], pair(0.5)))
    assert Energy.of([seen]) is not None and Energy.of([half]) is None
    assert Latency.of(measurement(0.5, 0.5)).energy is None


@pytest.mark.parametrize(
    "joules", [((0.0,), (1.0,)), ((1.0,), (-1.0,)), ((1.0,), ()), ((float("nan"),), (1.0,))]
)
def test_impossible_energies_are_refused(joules):
    with pytest.raises(ValueError, match="nerg"):
        replace(pair(0.5), baseline_j=joules[0], candidate_j=joules[1])


def test_raw_energies_are_kept_and_measurements_of_before_are_read():
    seen = counted(0.5, 0.5)
    value = json.loads(json.dumps(seen.to_json()))
    assert Measurement.from_json(value) == seen
    del value["baseline_reference_j"], value["pairs"][0]["baseline_j"], value["pairs"][0]["candidate_j"]
    assert Measurement.from_json(value).energy_ratios == ()
    assert PairBlocks.from_json(value["pairs"][0]).energy_ratio is None


def test_a_run_with_energies_is_read_as_it_was_written(run):
    value = json.loads(json.dumps(run.to_json()))
    assert Run.from_json(Fields(value)) == run
    assert "energy" not in json.dumps(sample_run().to_json())


def test_the_table_has_energies_where_a_sensor_counted_them(run):
    headings = [column.heading for column in columns(run)]
    joules = columns(run)[headings.index("energy\nmJ")].cell
    assert joules(run.baseline) == "4.00" and joules(run.front[1]) == "–"
    assert not any("energy" in column.heading for column in columns(sample_run()))
    assert "idle machine uses 3.2 W" in " ".join(notes_below(run))


def test_json_and_csv_have_energies_with_their_spread(run):
    point = front_value(run)["front"][0]
    assert point["latency"]["energy"]["sensor"].startswith("rapl")
    header, first, *_ = front_csv(run).splitlines()
    record = dict(zip(header.split(","), first.split(","), strict=False))
    assert float(record["energy_low_j"]) < float(record["energy_j"]) < float(record["energy_high_j"])


def test_a_limit_of_energy_keeps_what_was_counted_and_is_low_enough(run):
    limited = with_constraints(run, Constraints(max_energy_j=0.2 * 4e-3))
    kept = {point.trial for point in limited.points if limited.feasible(point)}
    vectors = {point.trial: run.vector(point)[1] for point in run.points}
    unknown = run.front[1].trial
    assert kept == {trial for trial, size in vectors.items() if size <= 0.2 and trial != unknown}
    assert kept and len(kept) < len(run.points) - 1


def test_pick_takes_a_point_within_the_limit_and_names_misses(run):
    limits = resolved(run, {"cpu": Constraints(max_energy_j=0.2 * 4e-3)})
    taken = RunOn.of(run, "cpu").on(pick(run, limits))
    assert taken.latency.energy is not None and taken.latency.energy.energy_j <= 0.2 * 4e-3


def test_a_limit_of_energy_on_a_run_without_is_refused():
    with pytest.raises(InputError, match=r"has no energies on cpu.*leave out --max-energy"):
        resolved(sample_run(), {"cpu": Constraints(max_energy_j=1e-3)})


def test_the_report_shows_the_energy_of_the_chosen_point(run, tmp_path):
    write_report(run, tmp_path / "report.html")
    assert "Energy of an inference" in (tmp_path / "report.html").read_text()
    write_report(sample_run(), tmp_path / "without.html")
    assert "Energy of an inference" not in (tmp_path / "without.html").read_text()


def test_the_command_pick_says_what_exceeds_the_limit(run, tmp_path):
    write_run(tmp_path, run)
    ended = CliRunner().invoke(
        app, ["pick", str(tmp_path), "--max-energy", "1nJ", "--out", str(tmp_path / "none")]
    )
    assert ended.exit_code == 1
    assert "energy ≤ 1.000 nJ" in ended.stderr and "exceeds energy by" in ended.stderr


def test_an_energy_of_nothing_is_no_energy():
    with pytest.raises(ValueError, match="above 0"):
        energy(0.0)
