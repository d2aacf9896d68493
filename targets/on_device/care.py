"""What a board says of its own condition: power mode, clocks, temperatures, and whether it was throttled.

Everything is read without rights and nothing is changed (clocks.py does that). `root` is where the file
system begins: "/", or a recorded tree in a test. A file that is missing or cannot be read is a fact that is
not known, never an error: thermal zones of parts that are powered down answer with EAGAIN, and a PC has none
of the Jetson's files.

Formats, JetPack 5 (L4T 35) and 6 (L4T 36):
  power mode   /var/lib/nvpmodel/status holds `pmode:0002`, /etc/nvpmodel.conf names it: `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`;
               `nvpmodel -q` prints `NV Power Mode: MAXN_SUPER` and the number
               (docs.nvidia.com/jetson/archives/r36.3/
               DeveloperGuide/SD/PlatformPowerAndPerformance/JetsonOrinNanoSeriesJetsonOrinNxSeriesAndJetsonAgxOrinSeries.html)
  clocks       cpufreq and devfreq of Linux; the GPU's is 17000000.gpu on JetPack 6, 17000000.ga10b on JetPack 5, gpu-gpc-0 on Thor.
               `jetson_clocks` makes min equal max. The memory's is in debugfs, for root alone.
  throttling   cooling devices (docs.kernel.org/driver-api/thermal/sysfs-api.html): `cpufreq-*` and `devfreq-*` cap clocks,
               `*-throttle-alert` report what the hardware does. A fan is no throttling, nor is
               `hot-surface-alert`. hwmon `soctherm_oc` counts the events that make the hardware throttle: oc1
               under-voltage, oc2 average and oc3 momentary over-current (drivers/hwmon/tegra23x-oc of L4T:
               oc1_event_cnt, oc1_throt_en). The last ends by itself within milliseconds, and an Orin Nano in
               MAXN_SUPER may count several a second: it throttles a pair only where clocks that are fixed are
               seen below what they were. Every event is told in the conditions.
Raspberry Pi: get_throttled, bits 0-3 now, 16-19 since the start (include/soc/bcm2835/raspberrypi-firmware.h
of Linux); hexadecimal in sysfs, `throttled=0x50005` from vcgencmd. Intel: core_throttle_count,
package_throttle_count, of all cores and for moments, so that they are told like oc3: a laptop that counts all
the time could not be measured otherwise.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from .runtime import RefusedError, Request
from .tegrastats import tegrastats

TOOL_TIMEOUT_S = 5.0
PAUSE_S = 1.0  # after a throttled pair: continuing at once would only keep it hot
OFF_C = -100.0  # a sensor that is powered down says -256
LIMITING = re.compile(r"(thermal-)?(cpufreq|devfreq)-.*|.*-throttle-alert|Processor")
GPU = re.compile(r".*(gpu|gp10b|gv11b|ga10b).*")
OC_EVENTS = {
    "oc1": "under-voltage (oc1)",
    "oc2": "average over-current (oc2)",
    "oc3": "momentary over-current (oc3)",
}
INTEL = ("core_throttle_count", "package_throttle_count")
MOMENTARY = frozenset({OC_EVENTS["oc3"], *INTEL})
FALLEN = 0.98  # of a fixed clock: less is a clock that fell
EMC = "sys/kernel/debug/bpmp/debug/clk/emc"
PI_BITS = ("under-voltage", "capped frequency", "throttling", "soft temperature limit")
PI_SYSFS = "sys/devices/platform/soc/soc:firmware/get_throttled"
REMEDIES = {
    "voltage": "use a stronger power supply and a short cable",
    "current": "choose a lower power mode (sudo nvpmodel -m ID) or a stronger power supply",
    "heat": "cool it better (fan, heat sink, air) or choose a lower power mode",
}


def state(root: str = "/") -> dict[str, Any]:
    """The board's condition now: power mode, clocks (MHz, and whether they are fixed), temperatures (°C),
    throttling.

    `counters` are event counters that only ever rise, `active` what limits the clocks at this moment.
    """
    return {
        "power_mode": power_mode(root),
        "clocks_fixed": clocks_fixed(root),
        "clocks_mhz": clocks(root),
        "temperatures_c": temperatures(root),
        "counters": counters(root),
        "active": active(root),
    }


# --- power mode


def power_mode(root: str = "/") -> str | None:
    """The name of the board's power mode, such as `15W`; None where there are no power modes."""
    number = power_mode_number(root)
    if number is not None:
        return power_modes(root).get(number, str(number))
    return queried_mode(_output(root, "nvpmodel", "-q"))


def power_mode_number(root: str = "/") -> int | None:
    """The power mode's number as nvpmodel keeps it; None where it keeps none."""
    found = re.search(r"pmode:\s*(\d+)", _text(_path(root, "var/lib/nvpmodel/status")))
    return int(found.group(1)) if found else None


def power_modes(root: str = "/") -> dict[int, str]:
    """The names of the power modes by their numbers: 0 is the fastest on some boards only."""
    text = _text(_path(root, "etc/nvpmodel.conf"))
    found = re.findall(r"^\s*<\s*POWER_MODEL\s+ID\s*=\s*(\d+)\s+NAME\s*=\s*([^\s>]+)", text, re.MULTILINE)
    return {int(number): name for number, name in found}


def queried_mode(text: str) -> str | None:
    """The name in what `nvpmodel -q` printed, warnings about fans aside."""
    found = re.search(r"NV Power Mode:\s*(\S+)", text)
    return found.group(1) if found else None


# --- clocks and temperatures


def clocks(root: str = "/") -> dict[str, float]:
    """Current frequencies in MHz: `cpu` (the slowest online core), `gpu`, `emc` (memory) where they can be
    read.
    """
    found: dict[str, float] = {}
    cores = [value for folder in _cpus(root) if (value := _number(folder / "scaling_cur_freq")) is not None]
    if cores:
        found["cpu"] = min(cores) / 1e3  # kHz
    for folder in _gpus(root):
        if (value := _number(folder / "cur_freq")) is not None:
            found["gpu"] = value / 1e6  # Hz
    if (value := _number(_path(root, EMC) / "rate")) is not None:
        found["emc"] = value / 1e6
    return found


def clocks_fixed(root: str = "/") -> bool | None:
    """Whether every clock that can be read is held at one frequency, as `jetson_clocks` does; None if none
    can be read.
    """
    found = [_equal(folder / "scaling_min_freq", folder / "scaling_max_freq") for folder in _cpus(root)]
    found += [_equal(folder / "min_freq", folder / "max_freq") for folder in _gpus(root)]
    locked = _number(_path(root, EMC) / "mrq_rate_locked")
    known = [item for item in (*found, None if locked is None else locked == 1) if item is not None]
    return all(known) if known else None


def _equal(low: Path, high: Path) -> bool | None:
    least, most = _number(low), _number(high)
    return None if least is None or most is None else least == most


def _cpus(root: str) -> list[Path]:
    """The cpufreq folders of the cores that are online."""
    folders = sorted(_path(root, "sys/devices/system/cpu").glob("cpu[0-9]*"))
    return [
        folder / "cpufreq"
        for folder in folders
        if _number(folder / "online") != 0 and (folder / "cpufreq").is_dir()
    ]


def _gpus(root: str) -> list[Path]:
    return [
        folder for folder in sorted(_path(root, "sys/class/devfreq").glob("*")) if GPU.fullmatch(folder.name)
    ]


def temperatures(root: str = "/") -> dict[str, float]:
    """Degrees Celsius by thermal zone; sensors that are off or cannot be read are left out."""
    found: dict[str, float] = {}
    for zone in sorted(_path(root, "sys/class/thermal").glob("thermal_zone*")):
        value, name = _number(zone / "temp"), _text(zone / "type")
        if value is not None and name and value / 1e3 > OFF_C:
            found[name] = max(value / 1e3, found.get(name, OFF_C))
    return found


# --- throttling


def counters(root: str = "/") -> dict[str, int]:
    """Event counters of throttling that rise with each event, by name."""
    found: dict[str, int] = {}
    for file in sorted(_path(root, "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
        enabled = _number(file.with_name(file.name.replace("event_cnt", "throt_en")))
        if enabled != 0 and (value := _number(file)) is not None:
            found[OC_EVENTS.get(file.name[:3], file.name)] = value
    for name in INTEL:
        values = [
            _number(file)
            for file in _path(root, "sys/devices/system/cpu").glob(f"cpu[0-9]*/thermal_throttle/{name}")
        ]
        if values:
            found[name] = sum(value or 0 for value in values)
    bits = pi_bits(root)
    if bits is not None:  # a bit that stays set until the next start is a counter that ends at one
        found.update(
            {f"{name} (since the start)": (bits >> (16 + bit)) & 1 for bit, name in enumerate(PI_BITS)}
        )
    return found


def active(root: str = "/") -> list[str]:
    """What holds the clocks down at this moment: names of cooling devices, bits of the Raspberry Pi's
    firmware.
    """
    found = []
    for device in sorted(_path(root, "sys/class/thermal").glob("cooling_device*")):
        name = _text(device / "type")
        if LIMITING.fullmatch(name) and (_number(device / "cur_state") or 0) > 0:
            found.append(name)
    bits = pi_bits(root) or 0
    return sorted(found) + [name for bit, name in enumerate(PI_BITS) if (bits >> bit) & 1]


def pi_bits(root: str = "/") -> int | None:
    """The firmware's get_throttled of a Raspberry Pi; None elsewhere."""
    text = (
        _text(_path(root, PI_SYSFS)) or _output(root, "vcgencmd", "get_throttled").rpartition("=")[2].strip()
    )
    try:
        return int(text, 16)
    except ValueError:
        return None


def condition(_: Any, request: Request) -> dict[str, Any]:
    """What `targets doctor` asks: the state, the power modes by number, and whether this user may set them."""
    from .clocks import may_set, sudoers_remedy  # which reads states itself

    root = request.get("root", "/")
    modes = power_modes(root)
    rights = {"may_set": may_set(), "remedy": sudoers_remedy()} if modes else {}
    return {
        "state": state(root),
        "power_modes": {str(number): name for number, name in modes.items()},
        "rights": rights,
    }


def throttling_between(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What throttled the board between two states, or did at one of them; empty if nothing did."""
    risen = set(events_between(before, after))
    if not clocks_fell(before, after):
        risen -= MOMENTARY
    return sorted({*risen, *before["active"], *after["active"]})


def events_between(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """By counter, how many events were counted between two states; counters that stand still are left out."""
    counted = {name: count - before["counters"].get(name, 0) for name, count in after["counters"].items()}
    return {name: count for name, count in counted.items() if count > 0}


def clocks_fell(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a clock is lower that was held at one frequency; free clocks come and go with the load, which
    says nothing.
    """
    earlier, now = before["clocks_mhz"], after["clocks_mhz"]
    return bool(before["clocks_fixed"]) and any(
        now[name] < FALLEN * earlier[name] for name in earlier.keys() & now.keys()
    )


class Watch:
    """Looks at the board between the pairs of a measurement. `dropped` are the reasons of each pair that was
    thrown away.
    """

    def __init__(self, root: str = "/"):
        self._root = root
        self.first = self._last = state(root)
        self.dropped: list[list[str]] = []
        self._tegrastats = [tegrastats(root)]

    def throttled(self) -> bool:
        """Whether the board throttled since the last call; the pair of that time is not to be kept."""
        now = state(self._root)
        reasons = throttling_between(self._last, now)
        self._last = now
        if reasons:
            self.dropped.append(reasons)
        return bool(reasons)

    def rest(self, left_s: float, *, kept: int) -> None:
        """A pause after a throttled pair. RefusedError of the kind noisy if no time is left, and fewer than
        two pairs were kept.
        """
        if left_s <= 0 and kept < 2:
            raise RefusedError(self._complaint(kept), kind="noisy")
        time.sleep(max(0.0, min(PAUSE_S, left_s)))
        self._last = state(self._root)

    def conditions(self) -> dict[str, Any]:
        """What a measurement keeps of the board's condition: Measurement.conditions."""
        first, last = self.first, self._last
        ends = [self._tegrastats[0], tegrastats(self._root)]
        return {
            "power_mode": last["power_mode"],
            "clocks_fixed": last["clocks_fixed"],
            "clocks_mhz": [first["clocks_mhz"], last["clocks_mhz"]],
            "temperatures_c": [first["temperatures_c"], last["temperatures_c"]],
            "dropped_pairs": len(self.dropped),
            "events": events_between(first, last),
            "throttled_by": sorted({reason for reasons in self.dropped for reason in reasons}),
            **({"tegrastats": ends} if any(ends) else {}),
        }

    def _complaint(self, kept: int) -> str:
        """A sentence about a measurement of which too many pairs were throttled."""
        reasons = sorted({reason for reasons in self.dropped for reason in reasons})
        hottest = max(self._last["temperatures_c"].items(), key=lambda item: item[1], default=None)
        warmth = f", {hottest[0]} at {hottest[1]:.0f} °C" if hottest else ""
        mode = self._last["power_mode"]
        named = f" in power mode {mode}" if mode else ""
        remedies = dict.fromkeys(REMEDIES[kind_of(reason)] for reason in reasons)
        return (
            f"The device throttled{named} during {len(self.dropped)} of {len(self.dropped) + kept} pairs "
            f"({', '.join(reasons)}{warmth}): {'; '.join(remedies)}; then try again."
        )


def kind_of(reason: str) -> str:
    """What a reason of throttling comes from: voltage, current or heat."""
    return next((kind for kind in ("voltage", "current") if kind in reason), "heat")


# --- files and tools


def _path(root: str, relative: str) -> Path:
    return Path(root) / relative


def _text(path: Path) -> str:
    """The file's text without blanks and NUL around it; empty if it cannot be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip(" \t\r\n\0")
    return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def _output(root: str, tool: str, *arguments: str) -> str:
    """What a program prints; empty if it is missing, hangs, or a recorded tree is read."""
    program = shutil.which(tool) if root == "/" else None
    if program is None:
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=TOOL_TIMEOUT_S, check=False,
        )  # fmt: skip
        return done.stdout.decode(errors="replace")
    return ""
