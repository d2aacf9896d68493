"""Peak memory of a candidate, and a bound for it; Linux tells both through /proc."""

from __future__ import annotations

import contextlib
import ctypes
import resource
from pathlib import Path
from typing import Any

from .runtime import Feeds, Request


def peak_memory(runtime: Any, request: Request, feeds: Feeds) -> int | None:
    """Bytes that loading and running the candidate adds to resident memory at its peak; None if the system
    hides it.

    The runtime's own code is in memory already: `measure` has run the candidate before.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # freed heap would otherwise hide what the model needs
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None  # without it, the peak could be that of earlier work
    before = status_bytes("VmRSS")
    runtime.open_session(request["model"], request).run(feeds)
    return max(0, status_bytes("VmHWM") - before)


def status_bytes(key: str) -> int:
    """A size in bytes out of /proc/self/status, 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


def limit_memory(limit_bytes: int) -> None:
    """Lets the address space grow by `limit_bytes` from here, and no further."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (status_bytes("VmSize") + limit_bytes, hard))
