"""What the machine says of itself, in the fields of profiles.environment.Environment."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

from .board.state import clocks_fixed, power_mode
from .runtime import Request

# CPU features that decide which kernels run, on x86 and on ARM.
X86_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
FLAGS = (*X86_FLAGS, "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve")


def machine_facts(request: Request) -> dict[str, Any]:
    """Everything but what the runtime adds."""
    info = cpu_info()
    present = info.get("flags", info.get("Features", "")).split()
    governor = _text(f"/sys/devices/system/cpu/cpu{request['cores'][0]}/cpufreq/scaling_governor")
    clock = info.get("cpu MHz")
    machine, mode = machine_identity(), power_mode(request.get("root", "/"))
    if mode is not None and clocks_fixed(request.get("root", "/")):
        governor = "fixed"  # jetson_clocks leaves the governor's name as it was
    return {
        "cpu_model": info.get("model name")
        or info.get("CPU part")
        or platform.processor()
        or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in present],
        "governor": governor,
        "threads": request["threads"],
        "cores": request["cores"],
        "python_version": platform.python_version(),
        "os": platform.platform(),
        "load_1m": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "clock_mhz": float(clock) if clock else None,
        "device": _text("/proc/device-tree/model"),
        "power_mode": mode,
        "machine": hashlib.sha256(machine.encode()).hexdigest() if machine else None,
        "emulated": request["emulated"],
    }


def machine_identity(root: str = "/") -> str | None:
    """The system's identity, and a board's serial number: boards whose cards were copied share the former."""
    parts = [_text(root + name) for name in ("etc/machine-id", "proc/device-tree/serial-number")]
    return " ".join(part for part in parts if part) or None


def is_emulated() -> bool:
    """Whether this process runs in qemu's user mode, which imitates another processor.

    The emulator answers for its own process as if it were not there, but not for others: so a child asks
    about its parent. Call it before there are threads, since it forks.
    """
    if not Path("/proc/self/exe").exists():
        return False
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.write(writing, os.readlink(f"/proc/{os.getppid()}/exe").encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        program = pipe.read().decode(errors="replace")
    os.waitpid(child, 0)
    return "qemu" in Path(program).name


def cpu_info() -> dict[str, str]:
    """The first value of every key in /proc/cpuinfo; empty where there is none."""
    values: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            values.setdefault(key.strip(), value.strip())
    return values


def _text(path: str) -> str | None:
    """The stripped content of a file, None where it is missing or empty."""
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0 \n") or None
    return None
