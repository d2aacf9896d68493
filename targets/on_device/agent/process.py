"""What Linux tells of a process that does not answer: whether it stands still, and whether the kernel killed
for want of memory. Standard library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

LOOK_S = 5.0  # between two looks at a worker that is being waited for
STOPPED_LOOKS = 6  # in a row at which it was stopped (SIGSTOP): somebody forgot it
IDLE_LOOKS = 12  # in a row at which it slept and had not computed for a nanosecond: it hangs


class Stillness:
    """Whether a process stands still. Looks are counted, not seconds: while this process, or the whole
    machine, is frozen nobody looks.

    A process that waits for its disk counts as moving, and so does one that wakes up now and then. One that
    `may_wait` for other processes may sleep for ever. Where there is no /proc, all move.
    """

    def __init__(self, pid: int, *, may_wait: bool = False):
        self._pid, self._may_wait = pid, may_wait
        self._stopped = self._idle = 0
        self._computed: int | None = None

    def look(self) -> str:
        """What is wrong with the process; empty if nothing is. Call it every LOOK_S."""
        state, computed = state_of(self._pid), _computed_ns(self._pid)
        idle = not self._may_wait and state == "S" and computed is not None and computed == self._computed
        self._stopped = self._stopped + 1 if state in ("T", "t") else 0
        self._idle = self._idle + 1 if idle else 0
        self._computed = computed
        if self._stopped >= STOPPED_LOOKS:
            return "was stopped and not continued"
        return "hung without computing" if self._idle >= IDLE_LOOKS else ""


def state_of(pid: int) -> str:
    """The letter of a process's state (man 5 proc): R, S, D, T, Z …; empty if it is not known."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2][1:2]
    return ""


def _computed_ns(pid: int) -> int | None:
    """Nanoseconds on a processor of all threads that the process has now; None if they are not known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        threads = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads)
    return None


def oom_kills() -> int:
    """How many processes this machine has killed for want of memory since its start; 0 where it does not
    tell.
    """
    with contextlib.suppress(OSError), Path("/proc/vmstat").open(encoding="ascii") as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
