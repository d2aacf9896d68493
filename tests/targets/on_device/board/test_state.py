"""What boards say of themselves. Nobody here has one: the trees were assembled from documentation
(tests/targets/recorded).
"""

import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from autocompress.errors import StageError
from autocompress.targets.on_device.board import state as care
from autocompress.targets.on_device.board.tegrastats import first_line, parse_tegrastats
from autocompress.targets.on_device.board.throttling import Watch
from autocompress.targets.on_device.machine import machine_identity
from autocompress.targets.on_device.runtime import RefusedError
from autocompress.targets.target import default_cores
from autocompress.targets.transport import WORKER, LocalTransport
from autocompress.tests.targets import models
from autocompress.tests.targets.boards import Jetson, board
from autocompress.tests.targets.models import QUICK
from autocompress.tests.targets.workers import changed_worker


@pytest.fixture
def jetson(tmp_path: Path) -> Jetson:
    return Jetson(tmp_path)


def test_a_jetson_at_rest_tells_its_mode_its_clocks_and_its_temperatures(jetson: Jetson) -> None:
    state = care.read_state(str(jetson.tree))
    assert state.power_mode == "25W"
    assert (state.clocks_fixed, state.clocks_mhz) == (False, {"cpu": 729.6, "gpu": 306.0})
    assert state.temperatures_c["tj-thermal"] == pytest.approx(52.437)
    assert "cv0-thermal" not in state.temperatures_c  # powered down
    assert state.active == []  # a running fan and a warm surface limit nothing


def test_a_raspberry_pi_remembers_what_is_over_but_is_not_throttled_now(tmp_path: Path) -> None:
    state = care.read_state(str(board("raspberry-pi-5", tmp_path)))
    assert (state.power_mode, state.active) == (None, [])
    assert state.counters["under-voltage (since the start)"] == 1
    assert state.counters["soft temperature limit (since the start)"] == 0


@pytest.mark.parametrize(
    ("text", "active"),
    [
        ("0", []),
        ("50000", []),
        ("50005", ["under-voltage", "throttling"]),
        ("e0008", ["soft temperature limit"]),
    ],
)
def test_the_low_bits_of_a_raspberry_pi_say_what_holds_now(
    tmp_path: Path, text: str, active: list[str]
) -> None:
    tree = board("raspberry-pi-5", tmp_path)
    (tree / care.PI_SYSFS).write_text(f"{text}\n")
    assert care.active(str(tree)) == active


def test_clocks_are_fixed_when_every_minimum_is_the_maximum(jetson: Jetson) -> None:
    gpu = jetson.tree / "sys/class/devfreq/17000000.gpu/min_freq"
    free = gpu.read_text()
    jetson.fix_clocks()
    gpu.write_text(free)
    assert care.clocks_fixed(str(jetson.tree)) is False
    jetson.fix_clocks()
    assert care.clocks_fixed(str(jetson.tree)) is True


def test_a_core_that_is_offline_says_nothing_about_the_clocks(jetson: Jetson) -> None:
    core = jetson.tree / "sys/devices/system/cpu/cpu5"
    (core / "online").write_text("0\n")
    (core / "cpufreq/scaling_cur_freq").write_text("1\n")
    assert care.clocks(str(jetson.tree))["cpu"] == 729.6


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    nothing: dict[str, object] = {
        "power_mode": None,
        "clocks_fixed": None,
        "clocks_mhz": {},
        "temperatures_c": {},
        "counters": {},
        "active": [],
    }
    assert care.read_state(str(tmp_path))._asdict() == nothing
    watch = Watch(str(tmp_path))
    assert not watch.throttled()
    assert watch.conditions()["dropped_pairs"] == 0


def test_a_cooling_device_that_acts_throttles(jetson: Jetson) -> None:
    watch = Watch(str(jetson.tree))
    assert not watch.throttled()
    jetson.heat(2, 3)
    assert watch.throttled()
    jetson.heat(2, 0)
    assert watch.throttled(), "it still throttled when this pair began"
    assert not watch.throttled()
    assert watch.dropped == [["devfreq-17000000.gpu"], ["devfreq-17000000.gpu"]]


def test_an_event_during_a_pair_throttles_that_pair_alone(jetson: Jetson) -> None:
    watch = Watch(str(jetson.tree))
    jetson.count(2)
    assert [watch.throttled(), watch.throttled()] == [True, False]
    assert watch.conditions()["throttled_by"] == ["average over-current (oc2)"]


def test_a_momentary_over_current_is_told_and_throttles_only_where_fixed_clocks_fell(jetson: Jetson) -> None:
    gpu = jetson.tree / "sys/class/devfreq/17000000.gpu"
    watch = Watch(str(jetson.tree))
    jetson.count(3)
    (gpu / "cur_freq").write_text("300000000\n")  # free clocks follow the load
    assert not watch.throttled()
    jetson.fix_clocks()
    assert not watch.throttled()
    jetson.count(3)
    assert not watch.throttled()
    jetson.count(3)
    (gpu / "cur_freq").write_text("200000000\n")
    assert watch.throttled()
    told = watch.conditions()
    assert (told["events"], told["throttled_by"]) == (
        {"momentary over-current (oc3)": 3},
        ["momentary over-current (oc3)"],
    )


def test_an_event_that_throttles_nothing_is_left_out(jetson: Jetson) -> None:
    (jetson.tree / "sys/class/hwmon/hwmon3/oc3_throt_en").write_text("0\n")
    assert "momentary over-current (oc3)" not in care.counters(str(jetson.tree))


def test_a_complaint_names_the_temperature_and_a_remedy_for_each_cause(jetson: Jetson) -> None:
    watch = Watch(str(jetson.tree))
    jetson.heat(4, 1)
    jetson.count(2)
    (jetson.tree / "sys/class/thermal/thermal_zone8/temp").write_text("99500\n")
    assert watch.throttled()
    with pytest.raises(RefusedError) as refusal:
        watch.rest(0.0, pairs=1)
    assert refusal.value.kind == "noisy"
    told = str(refusal.value)
    assert "in power mode 25W during 1 of 2 pairs" in told
    assert "average over-current (oc2), cpu-throttle-alert, tj-thermal at 100 °C" in told
    assert "sudo nvpmodel -m ID" in told
    assert "cool it better" in told


def test_the_queried_power_mode_is_found_among_warnings() -> None:
    assert (
        care.queried_mode("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN_SUPER\n2\n") == "MAXN_SUPER"
    )
    assert care.queried_mode("bash: nvpmodel: command not found") is None


# Lines that owners published: JetPack 5 (Xavier NX), JetPack 6 (Orin NX), JetPack 7 (AGX Orin), without root.
@pytest.mark.parametrize(
    ("line", "clocks", "temperatures", "power"),
    [
        (
            "RAM 2387/7774MB (lfb 961x4MB) SWAP 0/3887MB (cached 0MB) CPU [14%@1190,9%@1190,off] EMC_FREQ "
            "1%@1600 GR3D_FREQ 0%@114 "
            "APE 150 AO@31C GPU@31.5C PMIC@100C thermal@31.95C VDD_IN 3528mW/3569mW VDD_SOC 1107mW/1115mW",
            {"emc": 1600.0, "gpu": 114.0},
            {"AO": 31.0, "GPU": 31.5, "PMIC": 100.0, "thermal": 31.95},
            {"VDD_IN": 3.528, "VDD_SOC": 1.107},
        ),
        (
            "RAM 3456/15388MB (lfb 20x4MB) CPU [12%@1420,off] EMC_FREQ 24%@2133 GR3D_FREQ 0%@[306] cpu@52.5C "
            "cv0@-256C tj@53.5C VDD_IN 5000mW/5000mW",
            {"emc": 2133.0, "gpu": 306.0},
            {"cpu": 52.5, "tj": 53.5},
            {"VDD_IN": 5.0},
        ),
        (
            "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 "
            "GR3D_FREQ 0%@[1300,1300]",
            {"emc": 3199.0, "gpu": 1300.0},
            None,
            None,
        ),
        ("RAM 1/2MB CPU [2%@345,off] EMC_FREQ 0% GR3D_FREQ 0% PLL@50.5C", None, {"PLL": 50.5}, None),
        ("", None, None, None),
    ],
    ids=["JetPack 5", "JetPack 6", "JetPack 7", "without root", "nothing"],
)
def test_a_line_of_tegrastats_is_read(
    line: str,
    clocks: dict[str, float] | None,
    temperatures: dict[str, float] | None,
    power: dict[str, float] | None,
) -> None:
    expected = {"clocks_mhz": clocks, "temperatures_c": temperatures, "power_w": power}
    assert parse_tegrastats(line) == {key: value for key, value in expected.items() if value is not None}


@pytest.mark.parametrize("writes", [True, False], ids=["writes", "hangs"])
def test_a_program_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch, writes: bool) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    says = "print('RAM 1/2MB', flush=True)" if writes else "pass"
    line = first_line(
        [sys.executable, "-c", f"import time; {says}; time.sleep(600)"], timeout_s=60.0 if writes else 1.0
    )
    assert line.strip() == ("RAM 1/2MB" if writes else "")
    (process,) = started
    assert process.returncode == -signal.SIGKILL


def test_it_runs_on_the_python_of_jetpack_5(jetson: Jetson) -> None:
    python = Path("/root/.pyenv/versions/3.8.18/bin/python")
    if not python.exists():
        pytest.skip("no Python 3.8 here: pyenv install 3.8.18")
    script = (
        "from on_device.board import clocks, state, tegrastats; "
        f"print(state.read_state({str(jetson.tree)!r}).power_mode)"
    )
    done = subprocess.run(
        [python, "-c", script],
        cwd=Path(care.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "25W", done.stderr


@pytest.mark.skipif(not Path("/etc/nv_tegra_release").exists(), reason="needs a Jetson: run the tests on one")
def test_a_real_jetson_tells_its_mode_clocks_temperatures_and_event_counters() -> None:
    state = care.read_state()
    assert state.power_mode in care.power_modes().values()
    assert {"cpu", "gpu"} <= set(state.clocks_mhz)
    assert any(10 < value < 110 for value in state.temperatures_c.values())
    assert state.counters, "the Orin's soctherm_oc is missing"


def test_boards_with_copied_cards_are_told_apart_by_their_serial_numbers(tmp_path: Path) -> None:
    assert machine_identity(f"{tmp_path}/") is None
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123abcd\n")
    assert machine_identity(f"{tmp_path}/") == "0123abcd"
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/serial-number").write_text("1421023\0")
    assert machine_identity(f"{tmp_path}/") == "0123abcd 1421023"


# --- in a measurement


def measured(jetson: Jetson, folder: Path, *, worker: Path = WORKER, **timing: float) -> dict[str, Any]:
    model = models.linear(folder / "m.onnx", batch=1)
    config = {
        "runtime": "onnxruntime",
        "cores": default_cores(1),
        "threads": 1,
        "timer": "thread-cpu",
        "root": str(jetson.tree),
    }
    times = {**asdict(replace(QUICK, pairs_max=3)), **timing}
    request = {
        "op": "measure",
        "model": str(model),
        "baseline": str(model),
        "timing": times,
        "critical": [12.7, 4.3],
    }
    with LocalTransport(config, worker=worker) as transport:
        return transport.send(request, timeout_s=60)


def test_a_measurement_keeps_the_condition_of_the_board(jetson: Jetson, tmp_path: Path) -> None:
    result = measured(jetson, tmp_path)
    assert (result["environment"]["power_mode"], result["conditions"]["power_mode"]) == ("25W", "25W")
    assert result["conditions"]["dropped_pairs"] == 0
    assert [ends["tj-thermal"] for ends in result["conditions"]["temperatures_c"]] == [52.437, 52.437]


def test_throttled_pairs_are_repeated_and_counted(jetson: Jetson, tmp_path: Path) -> None:
    jetson.heat(0, 2)
    state, rests = (
        jetson.tree / "sys/class/thermal/cooling_device0/cur_state",
        "time.sleep(max(0.0, min(PAUSE_S, remaining_s)))",
    )
    cools = changed_worker(
        tmp_path,
        "board/throttling.py",
        rests,
        f"{rests}; __import__('pathlib').Path({str(state)!r}).write_text('0')",
    )
    result = measured(jetson, tmp_path, worker=cools, max_s=60.0)
    assert len(result["pairs"]) >= 2
    assert result["conditions"]["dropped_pairs"] == 1
    assert result["conditions"]["throttled_by"] == ["cpufreq-cpu0"]


def test_a_board_that_never_cools_down_is_noisy_and_says_what_helps(jetson: Jetson, tmp_path: Path) -> None:
    jetson.heat(5, 1)
    with pytest.raises(
        StageError, match=r"throttled in power mode 25W.*gpu-throttle-alert.*52 °C.*cool it better"
    ) as failure:
        measured(jetson, tmp_path, max_s=0.5)
    assert (failure.value.stage, failure.value.kind, failure.value.retryable) == ("measure", "noisy", True)


def test_what_an_intel_cpu_counts_is_told_and_drops_nothing(tmp_path: Path) -> None:
    counter = tmp_path / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    counter.parent.mkdir(parents=True)
    counter.write_text("7\n")
    watch = Watch(str(tmp_path))
    counter.write_text("9\n")
    assert not watch.throttled()
    assert watch.conditions()["events"] == {"core_throttle_count": 2}


def test_a_board_that_counts_momentary_over_current_all_the_time_can_be_measured(
    jetson: Jetson, tmp_path: Path
) -> None:
    counter, looks = jetson.tree / "sys/class/hwmon/hwmon3/oc3_event_cnt", "now = read_state(self._root)"
    counts = (
        f"counter = __import__('pathlib').Path({str(counter)!r}); "
        f"counter.write_text(str(int(counter.read_text()) + 1)); {looks}"
    )
    result = measured(jetson, tmp_path, worker=changed_worker(tmp_path, "board/throttling.py", looks, counts))
    assert len(result["pairs"]) >= 2 and result["conditions"]["dropped_pairs"] == 0
    assert result["conditions"]["events"]["momentary over-current (oc3)"] == len(result["pairs"])
