"""The lease of this host, over all processes of a user: one measurement alone, or training, never both on the
same cores.

Whoever wants the lease passes the *gate* first and holds it until the lease is granted. A measurement that
waits for training to pause therefore keeps new training out, and a queue of measurements keeps no training
out for ever, because at the gate both stand in one line. Training that is pinned to cores locks these only,
so that it goes on beside a measurement on others (`benchmarks/measuring.py` shows what that does to an A/A
control). The kernel drops the locks of a killed process.

All processes of a user meet in one folder, whatever their TMPDIR (`on_device/locks.py`). A holder writes into
the lock file who it is, and `WAITS` of the one that waits tells its user, and counts the time: waiting is no
work, and no part of a budget.
"""

import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import TargetUnavailable

try:
    import fcntl

    from .on_device.locks import VARIABLE, shared_folder
except ImportError as error:  # pragma: no cover - Windows
    raise TargetUnavailable(
        "Measuring needs file locks (fcntl), which this system lacks: use Linux or macOS."
    ) from error

_held = threading.local()
_EVERYWHERE = "lease.lock"  # measurements, and training on whatever core it gets
_LONGEST = 400  # bytes of what a holder says


class Waits:
    """What this process says to others that wait for it, and how long it has waited for them.

    A process that does the same (`who`: the recovery of one search beside its measurements) is no other: time
    spent waiting for it is time of the search.
    """

    def __init__(self) -> None:
        self.who = ""
        self._tell: Callable[[str], None] = lambda holder: None
        self._over_s = 0.0
        self._since_s: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of all waits so far, of one that goes on, too."""
        return self._over_s + (0.0 if self._since_s is None else time.monotonic() - self._since_s)

    @contextmanager
    def told(self, who: str, tell: Callable[[str], None]) -> Iterator[None]:
        """A block in which this process does `who`, such as `search runs/mine`. `tell` gets who is waited
        for, and an empty text when that is over.
        """
        before = self.who, self._tell
        self.who, self._tell = who, tell
        try:
            yield
        finally:
            self.who, self._tell = before

    @contextmanager
    def waiting(self, holder: str) -> Iterator[None]:
        """A block that does nothing but wait for `holder`, as it wrote its name."""
        process, _, who = holder.partition(" ")
        if (who and who == self.who) or self._since_s is not None:
            yield
            return
        named = f"process {process}" + (f" ({who})" if who else "") if process.isdigit() else holder
        self._since_s = time.monotonic()
        self._tell(named or "another process")
        try:
            yield
        finally:
            self._over_s, self._since_s = self.seconds, None
            self._tell("")


WAITS = Waits()


def own_s() -> float:
    """Seconds of a monotonic clock that stands still while this process waits for others."""
    return time.monotonic() - WAITS.seconds


@contextmanager
def measuring(folder: Path | None = None, *, cores: Collection[int] | None = None) -> Iterator[None]:
    """Holds the lease alone: waits until no other measurement holds it, and no training on `cores` (None: on
    any).
    """
    with _lease(folder, fcntl.LOCK_EX, [_EVERYWHERE, *_locks(cores)]):
        yield


@contextmanager
def training(folder: Path | None = None, *, cores: Collection[int] | None = None) -> Iterator[None]:
    """Shares the lease with other training. Hold it for seconds, not for minutes: measurements wait
    meanwhile.

    A process that is pinned to `cores` says so, and then keeps only measurements on these cores waiting.
    """
    with _lease(folder, fcntl.LOCK_SH, [_EVERYWHERE] if cores is None else _locks(cores)):
        yield


def _locks(cores: Collection[int] | None) -> list[str]:
    """The lock files of cores, in the order in which they are taken."""
    return [f"core-{core}.lock" for core in (range(os.cpu_count() or 1) if cores is None else sorted(cores))]


def lease_folder() -> Path:
    """The per-user folder of the lock files, of mode 0700. TargetUnavailable if it is someone else's,
    read-only, or relative.
    """
    folder = shared_folder() / f"autocompress-{os.getuid()}"
    if not folder.is_absolute():
        raise TargetUnavailable(
            f"{VARIABLE} is {str(folder.parent)!r}: give an absolute path, so that all processes meet in one "
            "folder."
        )
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise TargetUnavailable(
            f"The folder for locks {folder} cannot be made ({error.strerror}): set {VARIABLE} to another "
            "folder."
        ) from error
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    if not mine or not os.access(folder, os.W_OK):
        raise TargetUnavailable(
            f"{folder} is not a folder that only you can write to: remove it, or set {VARIABLE} to another "
            "folder."
        )
    return folder


@contextmanager
def _lease(folder: Path | None, mode: int, names: Collection[str]) -> Iterator[None]:
    if getattr(_held, "lease", False):
        raise RuntimeError("This thread holds the lease already: taking it again would wait for ever.")
    folder = folder or lease_folder()
    with ExitStack() as locks:
        with (folder / "gate.lock").open("a") as gate:
            _locked(gate, fcntl.LOCK_EX, folder / _EVERYWHERE)
            for name in names:
                lock = locks.enter_context((folder / name).open("a"))
                _locked(lock, mode, folder / name)
                _note(lock, f"{os.getpid()} {WAITS.who}")
        _held.lease = True
        try:
            yield
        finally:
            _held.lease = False


def _locked(lock: IO[str], mode: int, holder: Path) -> None:
    """Waits for a lock; `holder` is the file that says who has it."""
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        with WAITS.waiting(holder.read_text(errors="replace")[:_LONGEST] if holder.exists() else ""):
            fcntl.flock(lock, mode)


def _note(lock: IO[str], who: str) -> None:
    """Writes who has a lock into it; of several that share it, the last one. A full disk is no reason not to
    work.
    """
    with suppress(OSError):
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), who.encode(errors="replace")[:_LONGEST])
