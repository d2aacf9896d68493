"""What every sensor of energy must do: a RAPL machine and a Jetson as trees of files, and this machine."""

import time
from contextlib import nullcontext
from typing import Any

import pytest
from autocompress.targets.on_device.energy import find_meter, idle_watts
from autocompress.tests.targets.on_device.sensors import counting, jetson, rapl


@pytest.fixture(params=["rapl", "jetson", "this machine"])
def root(request, tmp_path):
    if request.param == "this machine" and find_meter("/") is None:
        pytest.skip("this machine has no RAPL or INA3221 that this user may read: see `targets doctor cpu`")
    trees: dict[str, Any] = {
        "rapl": lambda: counting(rapl(tmp_path), watts=10.0),
        "jetson": lambda: nullcontext(jetson(tmp_path)),
        "this machine": lambda: nullcontext("/"),
    }
    with trees[request.param]() as tree:
        yield str(tree)


def test_joules_never_fall_and_rise_with_time(root):
    with find_meter(root) as meter:
        readings = []
        for _ in range(4):
            readings.append(meter.joules())
            time.sleep(0.05)
    assert readings == sorted(readings) and readings[-1] > readings[0]


def test_a_machine_that_waits_uses_a_power_that_machines_have(root):
    assert 0.1 < idle_watts(find_meter(root)) < 2000


def test_a_sensor_names_its_parts(root):
    meter = find_meter(root)
    assert meter.kind in ("rapl", "ina3221") and meter.parts
