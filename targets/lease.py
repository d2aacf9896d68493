"""The lease of this host: one measurement alone, or any amount of training, never both, over all processes of a user.

Two lock files: whoever wants the lease passes the *gate* first and holds it until the lease is granted. A measurement
that waits for training to pause therefore keeps new training out, and a queue of measurements keeps no training out for
ever, because at the gate both stand in one line. The kernel drops the locks of a killed process.
"""

import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import TargetUnavailable

try:
    import fcntl
except ImportError as error:  # pragma: no cover - Windows
    raise TargetUnavailable("Measuring needs file locks (fcntl), which this system lacks: use Linux or macOS.") from error

_held = threading.local()


@contextmanager
def measuring(folder: Path | None = None) -> Iterator[None]:
    """Holds the lease alone: waits until no training and no other measurement holds it."""
    with _lease(folder, fcntl.LOCK_EX):
        yield


@contextmanager
def training(folder: Path | None = None) -> Iterator[None]:
    """Shares the lease with other training. Hold it for seconds, not for minutes: measurements wait meanwhile."""
    with _lease(folder, fcntl.LOCK_SH):
        yield


def lease_folder() -> Path:
    """The per-user folder of the lock files, made with mode 0700. TargetUnavailable if it belongs to someone else."""
    folder = Path(tempfile.gettempdir()) / f"autocompress-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise TargetUnavailable(f"The folder for locks {folder} cannot be made: {error}.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise TargetUnavailable(f"{folder} is not a folder that only you can write to: remove it, or set TMPDIR.")
    return folder


@contextmanager
def _lease(folder: Path | None, mode: int) -> Iterator[None]:
    if getattr(_held, "lease", False):
        raise RuntimeError("This thread holds the lease already: taking it again would wait for ever.")
    folder = folder or lease_folder()
    with (folder / "lease.lock").open("a") as lease:
        with (folder / "gate.lock").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(lease, mode)
        _held.lease = True
        try:
            yield
        finally:
            _held.lease = False
