"""The lock of a run directory, and the proof that it can be written, before any work."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import RunDirectoryError

NEEDED_BYTES = 64 * 1024**2


def require_writable(path: Path, *, elsewhere: str) -> None:
    """Makes the directory and proves, before any work, that it can be written and has space.
    RunDirectoryError if not.
    """
    probe = path / f".probe.{os.getpid()}.part"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
        free = shutil.disk_usage(path).free
    except OSError as error:
        raise unwritable(path, error, elsewhere=elsewhere) from error
    finally:
        with suppress(OSError):
            probe.unlink()
    if free < NEEDED_BYTES:
        raise RunDirectoryError(
            f"The disk of {path} has only {free // 1024**2} MB left: free {NEEDED_BYTES // 1024**2} MB."
        )


def unwritable(path: Path, error: OSError, *, elsewhere: str) -> RunDirectoryError:
    """The error that tells why `path` cannot be written; `elsewhere` is the remedy where there is space."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space and run the same command again" if full else elsewhere
    return RunDirectoryError(f"{path} cannot be written ({error.strerror or error}): {remedy}.")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full or read-only disk into the RunDirectoryError of the run directory on it."""
    try:
        yield
    except OSError as error:
        inside = error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(path)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) or not inside:
            raise
        raise unwritable(path, error, elsewhere="make it writable") from error


def holder(path: Path) -> str:
    """Who works on the run in `path` now, such as `search (process 71)`; empty when nobody does.

    The lock is tried only while the process that took it last exists, so that nobody who takes it meanwhile
    is disturbed.
    """
    try:
        with (path / "run.lock").open(encoding="utf-8", errors="replace") as lock:
            process, _, command = lock.read(200).strip().partition(" ")
            if not _exists(process):
                return ""
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"{command} (process {process})"
    except OSError:  # none was there yet, or none that may be read
        return ""
    return ""


def _exists(process: str) -> bool:
    """Whether there is a process of this number."""
    if not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def locked(path: Path, *, by: str, remedy: str, name: str = "run.lock") -> IO[str]:
    """The open lock file `name` of the directory; the lock ends with the process, however it ends.
    RunDirectoryError when another holds it.
    """
    lock = (path / name).open("a+", encoding="utf-8", errors="replace")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        process, _, command = lock.read(200).strip().partition(" ")
        lock.close()
        who = f"autocompress {command}".strip() + (f" (process {process})" if process else "")
        raise RunDirectoryError(f"{path} is in use by {who}: {remedy}.") from error
    lock.truncate(0)
    lock.write(f"{os.getpid()} {by}")
    lock.flush()
    return lock
