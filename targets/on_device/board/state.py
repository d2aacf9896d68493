"""What a board says of its own condition: power mode, clocks, temperatures, and what throttles it.

Everything is read without rights and nothing is changed (clocks.py does that). `root` is where the file
system begins: "/", or a recorded tree in a test. A file that is missing or cannot be read is an unknown fact,
never an error: thermal zones of parts that are powered down answer with EAGAIN, and a PC has none of the
Jetson's files.

Formats, JetPack 5 (L4T 35) and 6 (L4T 36):
  power mode   /var/lib/nvpmodel/status holds `pmode:0002`, /etc/nvpmodel.conf names it:
               `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`; `nvpmodel -q` prints `NV Power Mode: MAXN_SUPER` and
               the number
               (docs.nvidia.com/jetson/archives/r36.3/DeveloperGuide/SD/PlatformPowerAndPerformance/
               JetsonOrinNanoSeriesJetsonOrinNxSeriesAndJetsonAgxOrinSeries.html)
  clocks       cpufreq and devfreq of Linux; the GPU's is 17000000.gpu on JetPack 6, 17000000.ga10b on
               JetPack 5, gpu-gpc-0 on Thor. `jetson_clocks` makes min equal max. The memory's clock is in
               debugfs, for root alone.
  throttling   cooling devices (docs.kernel.org/driver-api/thermal/sysfs-api.html): `cpufreq-*` and
               `devfreq-*` cap clocks, `*-throttle-alert` report what the hardware does. A fan does not
               throttle, nor does `hot-surface-alert`. hwmon `soctherm_oc` counts the events that make the
               hardware throttle: oc1 under-voltage, oc2 average and oc3 momentary over-current
               (drivers/hwmon/tegra23x-oc of L4T: oc1_event_cnt, oc1_throt_en).
Raspberry Pi: get_throttled, bits 0-3 now, 16-19 since the start (include/soc/bcm2835/raspberrypi-firmware.h
of Linux); hexadecimal in sysfs, `throttled=0x50005` from vcgencmd. Intel: core_throttle_count and
package_throttle_count, summed over the cores.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

TOOL_TIMEOUT_S = 5.0
OFF_C = -100.0  # a sensor that is powered down says -256
LIMITING = re.compile(r"(thermal-)?(cpufreq|devfreq)-.*|.*-throttle-alert|Processor")
GPU = re.compile(r".*(gpu|gp10b|gv11b|ga10b).*")
OC_EVENTS = {
    "oc1": "under-voltage (oc1)",
    "oc2": "average over-current (oc2)",
    "oc3": "momentary over-current (oc3)",
}
INTEL = ("core_throttle_count", "package_throttle_count")
EMC = "sys/kernel/debug/bpmp/debug/clk/emc"
PI_BITS = ("under-voltage", "capped frequency", "throttling", "soft temperature limit")
PI_SYSFS = "sys/devices/platform/soc/soc:firmware/get_throttled"


class State(NamedTuple):
    """A board's condition at one moment.

    `clocks_mhz` are MHz, `clocks_fixed` whether they are held at one frequency (None: unknown),
    `temperatures_c` °C by thermal zone. `counters` are event counters that only ever rise, `active` is what
    limits the clocks at this moment.
    """

    power_mode: str | None
    clocks_fixed: bool | None
    clocks_mhz: dict[str, float]
    temperatures_c: dict[str, float]
    counters: dict[str, int]
    active: list[str]


class Condition(NamedTuple):
    """What `targets doctor` asks a board: its state, its power modes by number, and whether this user may set
    them (`remedy`: what gives the right).
    """

    state: State
    power_modes: dict[str, str]
    may_set: bool
    remedy: str


def read_state(root: str = "/") -> State:
    """The board's condition now."""
    return State(
        power_mode=power_mode(root),
        clocks_fixed=clocks_fixed(root),
        clocks_mhz=clocks(root),
        temperatures_c=temperatures(root),
        counters=counters(root),
        active=active(root),
    )


# --- power mode


def power_mode(root: str = "/") -> str | None:
    """The name of the board's power mode, such as `15W`; None where there are no power modes."""
    number = power_mode_number(root)
    if number is not None:
        return power_modes(root).get(number, str(number))
    return queried_mode(_output(root, "nvpmodel", "-q"))


def power_mode_number(root: str = "/") -> int | None:
    """The power mode's number as nvpmodel keeps it; None where it keeps none."""
    match = re.search(r"pmode:\s*(\d+)", _text(_path(root, "var/lib/nvpmodel/status")))
    return int(match.group(1)) if match else None


def power_modes(root: str = "/") -> dict[int, str]:
    """The names of the power modes by their numbers: 0 is the fastest on some boards only."""
    text = _text(_path(root, "etc/nvpmodel.conf"))
    pattern = r"^\s*<\s*POWER_MODEL\s+ID\s*=\s*(\d+)\s+NAME\s*=\s*([^\s>]+)"
    return {int(number): name for number, name in re.findall(pattern, text, re.MULTILINE)}


def queried_mode(text: str) -> str | None:
    """The name in what `nvpmodel -q` printed, warnings about fans aside."""
    match = re.search(r"NV Power Mode:\s*(\S+)", text)
    return match.group(1) if match else None


# --- clocks and temperatures


def clocks(root: str = "/") -> dict[str, float]:
    """Frequencies in MHz now: `cpu` (the slowest online core), `gpu`, `emc` (memory), those that can be
    read.
    """
    clocks_mhz: dict[str, float] = {}
    cores = [value for folder in _cpus(root) if (value := _number(folder / "scaling_cur_freq")) is not None]
    if cores:
        clocks_mhz["cpu"] = min(cores) / 1e3  # kHz
    for folder in _gpus(root):
        if (value := _number(folder / "cur_freq")) is not None:
            clocks_mhz["gpu"] = value / 1e6  # Hz
    if (value := _number(_path(root, EMC) / "rate")) is not None:
        clocks_mhz["emc"] = value / 1e6
    return clocks_mhz


def clocks_fixed(root: str = "/") -> bool | None:
    """Whether every clock that can be read is held at one frequency, as `jetson_clocks` does; None if none
    can be read.
    """
    fixed = [_equal(folder / "scaling_min_freq", folder / "scaling_max_freq") for folder in _cpus(root)]
    fixed += [_equal(folder / "min_freq", folder / "max_freq") for folder in _gpus(root)]
    locked = _number(_path(root, EMC) / "mrq_rate_locked")
    fixed.append(None if locked is None else locked == 1)
    readable = [value for value in fixed if value is not None]
    return all(readable) if readable else None


def _equal(low: Path, high: Path) -> bool | None:
    least, most = _number(low), _number(high)
    return None if least is None or most is None else least == most


def _cpus(root: str) -> list[Path]:
    """The cpufreq folders of the cores that are online."""
    cores = sorted(_path(root, "sys/devices/system/cpu").glob("cpu[0-9]*"))
    online = [core / "cpufreq" for core in cores if _number(core / "online") != 0]
    return [folder for folder in online if folder.is_dir()]


def _gpus(root: str) -> list[Path]:
    folders = sorted(_path(root, "sys/class/devfreq").glob("*"))
    return [folder for folder in folders if GPU.fullmatch(folder.name)]


def temperatures(root: str = "/") -> dict[str, float]:
    """Degrees Celsius by thermal zone; sensors that are off or cannot be read are left out."""
    by_zone: dict[str, float] = {}
    for zone in sorted(_path(root, "sys/class/thermal").glob("thermal_zone*")):
        value, name = _number(zone / "temp"), _text(zone / "type")
        if value is not None and name and value / 1e3 > OFF_C:
            by_zone[name] = max(value / 1e3, by_zone.get(name, OFF_C))
    return by_zone


# --- throttling


def counters(root: str = "/") -> dict[str, int]:
    """Event counters of throttling that rise with each event, by name."""
    counts: dict[str, int] = {}
    for file in sorted(_path(root, "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
        enabled = _number(file.with_name(file.name.replace("event_cnt", "throt_en")))
        if enabled != 0 and (value := _number(file)) is not None:
            counts[OC_EVENTS.get(file.name[:3], file.name)] = value
    for name in INTEL:
        files = list(_path(root, "sys/devices/system/cpu").glob(f"cpu[0-9]*/thermal_throttle/{name}"))
        if files:
            counts[name] = sum(_number(file) or 0 for file in files)
    bits = pi_bits(root)
    if bits is not None:  # a bit that stays set until the next start is a counter that ends at one
        for bit, name in enumerate(PI_BITS):
            counts[f"{name} (since the start)"] = (bits >> (16 + bit)) & 1
    return counts


def active(root: str = "/") -> list[str]:
    """What holds the clocks down now: names of cooling devices, bits of the Raspberry Pi's firmware."""
    limiting = []
    for device in sorted(_path(root, "sys/class/thermal").glob("cooling_device*")):
        name = _text(device / "type")
        if LIMITING.fullmatch(name) and (_number(device / "cur_state") or 0) > 0:
            limiting.append(name)
    bits = pi_bits(root) or 0
    return sorted(limiting) + [name for bit, name in enumerate(PI_BITS) if (bits >> bit) & 1]


def pi_bits(root: str = "/") -> int | None:
    """The firmware's get_throttled of a Raspberry Pi; None elsewhere."""
    text = _text(_path(root, PI_SYSFS))
    if not text:
        text = _output(root, "vcgencmd", "get_throttled").rpartition("=")[2].strip()
    try:
        return int(text, 16)
    except ValueError:
        return None


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
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
        return done.stdout.decode(errors="replace")
    return ""
