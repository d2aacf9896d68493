"""Trees of files as they are on machines with sensors of energy, and counters that advance by wall time.

RAPL as on a server of two sockets and on a laptop; INA3221 as on an Orin Nano and an AGX Orin (JetPack 6).
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

RANGE_UJ = 262_143_328_850
SERVER = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "dram",
    "intel-rapl:1": "package-1",
    "intel-rapl:1:0": "dram",
}
LAPTOP = {
    "intel-rapl:0": "package-0",
    "intel-rapl:0:0": "core",
    "intel-rapl:0:1": "uncore",
    "intel-rapl:0:2": "dram",
    "intel-rapl:1": "psys",
    "intel-rapl-mmio:0": "package-0",
}
ORIN_NANO = {"hwmon1": ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]}
AGX_ORIN = {
    "hwmon3": ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"],
    "hwmon4": ["NC", "VDDQ_VDD2_1V8AO", "NC"],
}


def rapl(root: Path, zones: Mapping[str, str] = LAPTOP, *, start_uj: int = 1_000_000) -> Path:
    """A tree with these zones; every counter is at `start_uj`."""
    for folder, name in zones.items():
        place = root / "sys/class/powercap" / folder
        place.mkdir(parents=True)
        (place / "name").write_text(f"{name}\n")
        (place / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
        (place / "energy_uj").write_text(f"{start_uj}\n")
    return root


def jetson(root: Path, chips: Mapping[str, list[str]] = ORIN_NANO, *, volts: int = 5000) -> Path:
    """A tree with these rails, of 5 V; the n-th of a chip has n · 100 mA."""
    for chip, names in chips.items():
        place = root / "sys/class/hwmon" / chip
        place.mkdir(parents=True)
        (place / "name").write_text("ina3221\n")
        for number, name in enumerate(names, start=1):
            (place / f"in{number}_label").write_text(f"{name}\n")
            (place / f"in{number}_input").write_text(f"{volts}\n")
            (place / f"curr{number}_input").write_text(f"{100 * number}\n")
        (place / "in7_label").write_text("sum of shunt voltages\n")
    return root


@contextmanager
def counting(root: Path, *, watts: float) -> Iterator[Path]:
    """A tree whose packages each use `watts`, by wall time, while the block runs."""
    files = [
        name.with_name("energy_uj")
        for name in root.glob("sys/class/powercap/intel-rapl:*/name")
        if name.read_text().startswith("package")
    ]
    began, ended = time.perf_counter(), threading.Event()

    def advance() -> None:
        while not ended.wait(0.004):
            spent = int(1e6 * (1 + watts * (time.perf_counter() - began)))
            for file in files:
                part = file.with_name("part")
                part.write_text(f"{spent}\n")
                part.replace(file)  # at once, as the kernel's file changes

    thread = threading.Thread(target=advance)
    thread.start()
    try:
        yield root
    finally:
        ended.set()
        thread.join()
