"""Waiting for what is to happen, instead of for a time in which it might; time that other programs do not
take.
"""

import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PATIENCE_S = 60.0  # nothing takes so long; it bounds how long a failing test waits
SEARCH_PATIENCE_S = 600  # a search of a few trials on a slow machine, where others measure in turns


def comes_true(condition: Callable[[], object], *, timeout_s: float = PATIENCE_S) -> bool:
    """Whether the condition holds within `timeout_s`; it is looked at a hundred times a second."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def ended(pid: int) -> bool:
    """Whether a process has ended; one that nobody reaped has, too."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    return True


def cpu_s(pid: int) -> float:
    """Seconds for which a process has computed; 0 if it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def start_up_ratio(command: Sequence[str | Path], *, python: str | Path, cwd: Path | None = None) -> float:
    """How many times as long a command computes as its libraries of the command line take to import, in
    turns, the fastest of three each.
    """
    runs = [
        (computed(command, cwd=cwd)[1], computed([python, "-c", "import typer.rich_utils"], cwd=cwd)[1])
        for _ in range(3)
    ]
    fastest, least = map(min, zip(*runs, strict=True))
    return fastest / least


def computed(command: Sequence[str | Path], *, cwd: Path | None = None) -> tuple[str, float]:
    """What a command prints, and for how many seconds it computes: that it waits for a busy machine is not
    its fault.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
