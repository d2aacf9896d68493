"""Energies of real inferences, counted by files that advance by wall time, as a kernel's do."""

import functools
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.profiles import load_profile
from autocompress.results.records.energy import Energy
from autocompress.results.run_directory import read_run
from autocompress.targets import target
from autocompress.targets.doctor import doctor
from autocompress.targets.target import Target
from autocompress.targets.transport import LocalTransport
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK
from autocompress.tests.targets.on_device.sensors import counting, jetson, rapl
from autocompress.tests.test_cli import TASK
from typer.testing import CliRunner

pytestmark = pytest.mark.usefixtures("quiet_machine")


@pytest.fixture
def at_tree(monkeypatch):
    """Workers of this machine find their sensors in a tree of files."""

    def use(tree: Path) -> None:
        def open_worker(config, **options):
            return LocalTransport({**config, "root": str(tree)}, **options)

        monkeypatch.setattr(target, "LocalTransport", open_worker)

    return use


def measured(folder: Path):
    base, small = models.chain(folder / "base.onnx", layers=3), models.chain(folder / "small.onnx", layers=1)
    subject = Target(load_profile("cpu"))
    with subject.open_worker() as worker:
        return subject.measure_once(worker, small, base, timing=QUICK, digests=("a" * 64, "b" * 64))


def energy_of(seen) -> Energy:
    energy = Energy.of([seen])
    assert energy is not None
    return energy


def test_a_constant_power_makes_energy_as_long_as_latency(tmp_path, at_tree):
    at_tree(tmp_path)
    with counting(rapl(tmp_path), watts=10.0):
        seen = measured(tmp_path)
    for one in seen.pairs:
        assert len(one.candidate_j) == len(one.candidate_s)
        expected = 10.0 * sum(one.candidate_wall_s)
        assert 0.3 * expected < sum(one.candidate_j) < 10 * expected
    energy = energy_of(seen)
    assert energy.sensor == "rapl: package-0, dram-0" and energy.idle_w is not None


def test_a_jetsons_rails_are_added_up_in_longer_blocks(tmp_path, at_tree):
    at_tree(jetson(tmp_path))
    seen = measured(tmp_path)
    assert seen.conditions["energy_sensor"] == "ina3221: VDD_IN"
    assert seen.conditions["idle_w"] == pytest.approx(0.5, rel=0.01)
    assert [len(one.candidate_j) for one in seen.pairs] == [2, 2]
    assert 0 < energy_of(seen).ratio < 10


def test_a_counter_that_stands_still_counts_nothing(tmp_path, at_tree):
    at_tree(rapl(tmp_path))
    seen = measured(tmp_path)
    assert seen.energy_ratios == () and "stood still" in seen.conditions["energy_missing"]


def test_without_a_sensor_a_measurement_is_as_before(tmp_path, at_tree):
    at_tree(tmp_path)
    seen = measured(tmp_path)
    assert seen.energy_ratios == () and not any("energy" in name for name in seen.conditions)


def test_a_limit_without_a_sensor_is_refused_before_any_work(tmp_path, at_tree, monkeypatch):
    at_tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["search", "--max-energy", "5mJ", "--trials", "2"])
    assert ended.exit_code == 2 and not (tmp_path / "runs").exists()
    assert "--max-energy needs a sensor of energy on the target 'cpu': this machine has none" in ended.stderr


def test_the_doctor_tells_the_sensor_or_what_mends_it(tmp_path, at_tree, monkeypatch):
    monkeypatch.setattr("autocompress.targets.doctor.examination._control", lambda target: None)
    monkeypatch.setattr(Target, "energy_sensor", functools.partialmethod(lambda self: NO_RIGHT))
    (finding,) = [one for one in doctor(load_profile("cpu")) if one and one.name == "energy"]
    assert not finding.ok and not finding.needed and finding.remedy == "sudo chmod"


NO_RIGHT = {
    "sensor": "",
    "problem": "RAPL counts package-0, but root alone may read it",
    "remedy": "sudo chmod",
}


@pytest.mark.slow
def test_a_search_has_energies_on_its_front_and_keeps_their_limit(tmp_path, at_tree, monkeypatch):
    at_tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(TASK)
    command = "search task.py:make --max-energy 1J --trials 2 --sampler random --no-recovery --out run"
    with counting(rapl(tmp_path), watts=10.0):
        ended = CliRunner().invoke(app, command.split())
    assert ended.exit_code == 0 and "energy" in ended.stdout
    run = read_run(tmp_path / "run")
    assert run.front and all(run.measured(point)["cpu"].latency.energy for point in run.front)
