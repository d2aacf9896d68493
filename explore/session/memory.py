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


class MemoryPeak:
    """What a process, this one if none is named, and all that it started took at most together, as far as it
    was looked at. A page that processes share, as those of torch's libraries, counts once.
    """

    def __init__(self, process: int | None = None) -> None:
        self.bytes, self._process = 0, process or os.getpid()

    def look(self) -> None:
        """Takes note of what they take now."""
        resident = _resident_in(self._process)
        if sum(resident.values()) > self.bytes:  # more cannot be shared: the shares take long to tell
            self.bytes = max(self.bytes, sum(_own_share(pid, all_of) for pid, all_of in resident.items()))


def _resident_in(process: int) -> dict[int, int]:
    """Resident bytes by process, of this one and all below it, by /proc; of this one alone, and at its peak,
    where there is none.

    getrusage is of no use for children: one that is started with vfork begins with its parent's peak.
    """
    parents: dict[int, int] = {}
    pages: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it has just ended
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)], pages[int(folder.name)] = int(fields[1]), int(fields[21])
    tree = {process}
    while more := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= more
    size = os.sysconf("SC_PAGE_SIZE")
    resident = {each: pages[each] * size for each in tree if each in pages}
    return resident or {process: _most_of(resource.RUSAGE_SELF)}


def _own_share(process: int, resident: int) -> int:
    """Its own pages, and of those that it shares with others its share; all of them where nobody tells."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return resident


def _most_of(who: int) -> int:
    most = resource.getrusage(who).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
