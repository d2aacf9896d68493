"""tegrastats: what NVIDIA's tool alone tells without root's rights. It prints a line at every interval until
it is killed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading

from .state import OFF_C

TIMEOUT_S = 2.0


def tegrastats(root: str = "/") -> dict[str, dict[str, float]]:
    """What only tegrastats tells without root's rights (power drawn, the memory's clock); empty where it does
    not exist.
    """
    tool = shutil.which("tegrastats") if root == "/" else None
    return parse_tegrastats(first_line([tool, "--interval", "100"], timeout_s=TIMEOUT_S)) if tool else {}


def first_line(command: list[str], *, timeout_s: float) -> str:
    """The first line that a program writes that would never end on its own; it is ended in any case."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return ""
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    assert process.stdout is not None
    try:
        return process.stdout.readline().decode(errors="replace")
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def parse_tegrastats(line: str) -> dict[str, dict[str, float]]:
    """Temperatures (°C), power by rail (W) and clocks (MHz) of one line; what it does not have is left out.

    `GR3D_FREQ 37%@[624]` and `@[1300,1300]` are JetPack 6 and later, `37%@624` is JetPack 5, and without root
    there is no `@` (github.com/rbonghi/jetson_stats/pull/894 has all three); a rail is `VDD_IN
    5079mW/5079mW`: now, and on average.
    """
    warmth = {name: float(value) for name, value in re.findall(r"(?<![\w%])(\w+)@(-?[\d.]+)C\b", line)}
    temperatures = {name: value for name, value in warmth.items() if value > OFF_C}
    power = {name: int(now) / 1e3 for name, now in re.findall(r"\b(V\w+) (\d+)mW/\d+mW", line)}
    clocks: dict[str, float] = {}
    for name, key in (("EMC_FREQ", "emc"), ("GR3D_FREQ", "gpu")):
        clock = re.search(name + r" (?:\d+%)?@\[?(\d+)", line)
        if clock:
            clocks[key] = float(clock.group(1))
    readings = {"temperatures_c": temperatures, "power_w": power, "clocks_mhz": clocks}
    return {kind: values for kind, values in readings.items() if values}
