"""Joules that the hardware itself counts. Where there is no sensor there is no number: nothing is estimated.

RAPL, x86 (Intel since Sandy Bridge, AMD since Zen): /sys/class/powercap/intel-rapl:N is a processor package,
`package-N`, with its zones below it: `core` and `uncore` are parts of the package, `dram` is not. So packages
and dram are added, of all sockets. `psys` is the whole platform, and intel-rapl-mmio counts the same package
again: both are left out. energy_uj counts microjoules, advances about every millisecond and starts again at
max_energy_range_uj (docs.kernel.org/power/powercap/powercap.html). Since 2020 only root may read it, because
it gives away what others compute (CVE-2020-8694).

INA3221, Jetsons (JetPack 5 and later): hwmon has in*_input in mV, curr*_input in mA and in*_label, the rail's
name. VDD_IN is the whole module where there is one; elsewhere the rails are added. They say watts, not
joules, and are read over I2C, which takes about a millisecond: so a thread adds them up while inferences run
that are timed for nothing else.

`root` is where the file system begins: "/", or a tree of files in a test.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from .runtime import Request

POWERCAP, HWMON = "sys/class/powercap", "sys/class/hwmon"
WHOLE_MODULE = ("VDD_IN", "POM_5V_IN")
INSIDE_ANOTHER = ("VDDQ_VDD2_1V8AO", "NC")  # fed by VIN_SYS_5V0; not connected
STEPS_OF_A_BLOCK = 20  # of a counter, at least: its edges are then worth 5 % of one block, less of many
IDLE_S = 0.25
UNREADABLE = "it may be read by root alone"
REMEDY = f"sudo chmod a+r /{POWERCAP}/intel-rapl:*/energy_uj /{POWERCAP}/intel-rapl:*/*/energy_uj"


class Zone(NamedTuple):
    """A RAPL zone: its name, the file of its counter in µJ, and where that starts again."""

    name: str
    counter: Path
    range_uj: int


class Counters:
    """RAPL counters, summed. `inline`: reading them costs microseconds, so that they are read around the
    blocks that are timed anyway.
    """

    kind, inline, step_s = "rapl", True, 1e-3

    def __init__(self, zones: list[Zone]):
        self._zones = zones
        self._last = [_whole(zone.counter) for zone in zones]
        self._total_uj = 0
        self.parts = [zone.name for zone in zones]

    def joules(self) -> float:
        """Joules since this object was made. It must be asked at least once per range (minutes)."""
        for index, zone in enumerate(self._zones):
            value = _whole(zone.counter)
            self._total_uj += (value - self._last[index]) % (zone.range_uj + 1)
            self._last[index] = value
        return self._total_uj / 1e6

    def __enter__(self) -> Counters:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Rails:
    """INA3221 rails, summed: watts that a thread adds up to joules within a `with` block."""

    kind, inline, step_s = "ina3221", False, 0.01

    def __init__(self, rails: list[tuple[str, Path, Path]]):
        self._rails = rails
        self.parts = [name for name, _, _ in rails]
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._total, self._last = 0.0, (0.0, 0.0)  # joules; when, watts

    def watts(self) -> float:
        """Now."""
        return sum(_whole(volts) * _whole(amperes) for _, volts, amperes in self._rails) / 1e6

    def joules(self) -> float:
        """Joules since the block began."""
        with self._lock:
            then, before = self._last
            self._last = (time.perf_counter(), self.watts())
            self._total += (self._last[0] - then) * (self._last[1] + before) / 2
            return self._total

    def __enter__(self) -> Rails:
        self._last = (time.perf_counter(), self.watts())
        self._stop.clear()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(self.step_s):
            self.joules()


Meter = Any  # Counters or Rails: Python 3.8 has no unions of classes


def find_meter(root: str = "/") -> Meter:
    """The sensor of this machine, None where there is none that this user may read."""
    for found, make in ((zones(root), Counters), (rails(root), Rails)):
        if found:
            try:
                meter: Meter = make(found)  # type: ignore[arg-type]
                meter.joules()
            except (OSError, ValueError):
                continue
            return meter
    return None


def energy(_: Any, request: Request) -> dict[str, Any]:
    """The operation `energy`: the sensor's kind and parts, or the problem with it and what mends it."""
    root = request.get("root", "/")
    meter = find_meter(root)
    if meter is not None:
        return {"sensor": meter.kind, "parts": meter.parts, "problem": "", "remedy": ""}
    present = [zone.name for zone in zones(root)]
    problem = f"RAPL counts {', '.join(present)}, but {UNREADABLE}" if present else "this machine has none"
    return {"sensor": None, "parts": present, "problem": problem, "remedy": REMEDY if present else ""}


def zones(root: str = "/") -> list[Zone]:
    """The RAPL zones that add up to what the processors and their memory use; empty without RAPL."""
    chosen = []
    for folder in sorted(Path(root, POWERCAP).glob("intel-rapl:*")):
        name = _text(folder / "name")
        below_another = folder.name.count(":") > 1
        if name == "dram" if below_another else name.startswith("package"):
            if below_another:
                name = f"{name}-{folder.name.split(':')[1]}"
            try:
                chosen.append(Zone(name, folder / "energy_uj", _whole(folder / "max_energy_range_uj")))
            except (OSError, ValueError):
                continue
    return chosen


def rails(root: str = "/") -> list[tuple[str, Path, Path]]:
    """The rails that add up to the module: name, file of millivolts, file of milliamperes; empty without
    any.
    """
    found = {}
    for chip in sorted(Path(root, HWMON).glob("hwmon*")):
        if _text(chip / "name") != "ina3221":
            continue
        for label in sorted(chip.glob("in*_label")):
            number, name = label.name[2:].split("_")[0], _text(label)
            amperes = chip / f"curr{number}_input"
            if amperes.exists() and name not in INSIDE_ANOTHER:
                found[name] = (name, chip / f"in{number}_input", amperes)
    whole = [found[name] for name in WHOLE_MODULE if name in found]
    return whole[:1] or list(found.values())


def idle_watts(meter: Meter) -> float:
    """What the machine uses while this process waits, others' work included."""
    with meter:
        began, before = time.perf_counter(), meter.joules()
        time.sleep(IDLE_S)
        return float((meter.joules() - before) / (time.perf_counter() - began))


def block_seconds(meter: Meter, block_s: float) -> float:
    """How long a block must be for the meter to resolve it."""
    return max(block_s, STEPS_OF_A_BLOCK * float(meter.step_s))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _whole(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))
