"""Which sensor is read, what is added up, and what a counter that starts again means."""

import pytest
from autocompress.targets.on_device.energy import REMEDY, Counters, Rails, energy, find_meter, zones
from autocompress.tests.targets.on_device.sensors import AGX_ORIN, LAPTOP, RANGE_UJ, SERVER, jetson, rapl


def set_counter(root, zone, value_uj):
    (root / "sys/class/powercap" / zone / "energy_uj").write_text(f"{value_uj}\n")


def test_packages_and_memory_are_added_and_parts_of_a_package_are_not(tmp_path):
    assert [zone.name for zone in zones(str(rapl(tmp_path, LAPTOP)))] == ["package-0", "dram-0"]


def test_all_sockets_are_added(tmp_path):
    meter = find_meter(str(rapl(tmp_path, SERVER)))
    for zone in SERVER:
        set_counter(tmp_path, zone, 3_500_000)
    assert meter.parts == ["package-0", "dram-0", "package-1", "dram-1"]
    assert meter.joules() == pytest.approx(4 * 2.5)


def test_a_counter_that_starts_again_goes_on(tmp_path):
    meter = find_meter(str(rapl(tmp_path, {"intel-rapl:0": "package-0"}, start_uj=RANGE_UJ - 400_000)))
    set_counter(tmp_path, "intel-rapl:0", 599_999)
    assert meter.joules() == pytest.approx(1.0)
    set_counter(tmp_path, "intel-rapl:0", 1_599_999)
    assert meter.joules() == pytest.approx(2.0)


def test_counters_that_may_not_be_read_are_named_with_their_remedy(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    rapl(tmp_path)
    found = zones(str(tmp_path))
    monkeypatch.setattr("autocompress.targets.on_device.energy.zones", lambda root: found)
    monkeypatch.setattr("autocompress.targets.on_device.energy._whole", refuse)
    answer = energy(None, {"root": str(tmp_path)})
    assert answer["sensor"] is None and answer["remedy"] == REMEDY
    assert answer["problem"] == "RAPL counts package-0, dram-0, but it may be read by root alone"


def test_the_rail_of_the_whole_module_is_taken_alone(tmp_path):
    meter = find_meter(str(jetson(tmp_path)))
    assert isinstance(meter, Rails) and meter.parts == ["VDD_IN"]
    assert meter.watts() == pytest.approx(0.5)


def test_without_one_the_rails_are_added_but_not_one_inside_another(tmp_path):
    meter = find_meter(str(jetson(tmp_path, AGX_ORIN)))
    assert meter.parts == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
    assert meter.watts() == pytest.approx(0.5 + 1.0 + 1.5)


def test_a_machine_without_sensors_has_none(tmp_path):
    assert find_meter(str(tmp_path)) is None
    assert energy(None, {"root": str(tmp_path)})["problem"] == "this machine has none"


@pytest.mark.parametrize("content", ["", "much", "12\n\0"])
def test_a_counter_that_is_no_number_is_no_sensor(content, tmp_path):
    (rapl(tmp_path) / "sys/class/powercap/intel-rapl:0/energy_uj").write_text(content)
    assert not isinstance(find_meter(str(tmp_path)), Counters)
