"""Memory: how much there is for a search, and how much it took at most."""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

SHARE = 0.6  # of what is free when a search begins, for which nobody said `--memory`


def free_bytes() -> int:
    """What processes can still have on this machine, or in the control group that holds this one."""
    free = [_available_bytes()]
    with suppress(OSError, ValueError):  # no Linux with control groups, or no limit ("max")
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free.append(limit - int((group / "memory.current").read_text()))
    return max(0, min(free))


def _available_bytes() -> int:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS does not say what is free


def limit_of(asked: int | None) -> int:
    """The bytes that a search may take: what was asked for, or SHARE of what is free now."""
    return asked or max(1, int(SHARE * free_bytes()))


def resident_bytes() -> int:
    """What this process takes now."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return _most_of(resource.RUSAGE_SELF)


def peak_bytes() -> int:
    """What this process took at most, and the largest of those that it started and that have ended."""
    return _most_of(resource.RUSAGE_SELF) + _most_of(resource.RUSAGE_CHILDREN)


def _most_of(who: int) -> int:
    most = resource.getrusage(who).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
