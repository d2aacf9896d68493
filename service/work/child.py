"""The command as a child process: without the service's secrets, with limits, in a session of its own."""

import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ...nightly.commands import PROGRAM, end_with
from ..config import ServeLimits

# What a search needs of the worker's environment; nothing else reaches it.
_PASSED = (
    "PATH", "HOME", "USER", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV",
    "XDG_CACHE_HOME", "SSH_AUTH_SOCK", "AUTOCOMPRESS_LOCKS", "CUDA_VISIBLE_DEVICES", "CUDA_HOME",
)  # fmt: skip
_BEGINNINGS = ("LC_", "OMP_", "MKL_", "ORT_")


def environment(given: Mapping[str, str], also: Sequence[str]) -> dict[str, str]:
    """The variables that a search gets: those it needs to run, and those that serve.toml lists."""
    wanted = {*_PASSED, *also}
    return {name: value for name, value in given.items() if name in wanted or name.startswith(_BEGINNINGS)}


def start(
    words: Sequence[str],
    *,
    place: Path,
    output: IO[bytes],
    errors: IO[bytes],
    limits: ServeLimits,
    variables: Mapping[str, str],
) -> "subprocess.Popen[bytes]":
    """Starts `autocompress WORDS` in the folder `place`. It ends safely when this process is killed."""
    parent = os.getpid()

    def prepare() -> None:
        end_with(parent)
        _limit(limits)

    return subprocess.Popen(
        [*PROGRAM, *words],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=dict(variables),
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 - it calls functions of the C library alone
    )


def _limit(limits: ServeLimits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, limits.open_files)
    _lower(resource.RLIMIT_DATA, limits.memory_bytes)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    if limits.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, limits.cpus)


def _lower(kind: int, wanted: int | None) -> None:
    if wanted is not None:
        _, hard = resource.getrlimit(kind)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, most))
