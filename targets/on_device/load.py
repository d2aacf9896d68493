"""How much of the machine's processors others use: every process but this one and its children."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

IDLE = (3, 4)  # columns of /proc/stat: idle, and waiting for a disk


class Load:
    """Counts from its making on."""

    def __init__(self, root: str = "/"):
        self._stat = Path(root) / "proc/stat"
        self._began, self._busy, self._own = time.monotonic(), busy_seconds(self._stat), own_seconds()

    def conditions(self) -> dict[str, Any]:
        """`cores`, and `others_cores`: how many of them others used on average; empty where the system does
        not tell.
        """
        busy, took = busy_seconds(self._stat), time.monotonic() - self._began
        if busy is None or self._busy is None or took <= 0:
            return {}
        others = busy - self._busy - (own_seconds() - self._own)
        return {"cores": os.cpu_count(), "others_cores": round(max(0.0, others) / took, 2)}


def busy_seconds(stat: Path) -> float | None:
    """Seconds of all processors that were not idle, since the system started; None where it does not tell.

    Time that a host took from a virtual machine counts, time of guests is in that of their processes.
    """
    try:
        fields = stat.read_text().split("\n", 1)[0].split()[1:9]
        ticks = [int(field) for field in fields]
        return sum(count for at, count in enumerate(ticks) if at not in IDLE) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None


def own_seconds() -> float:
    """Seconds of processors that this process and its children used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
