"""Temporary files and folders of ours, and what killed processes left of them. Standard library.

Whoever makes one holds a lock (flock) on it until it is gone, and the kernel drops the locks of a dead
process. What has a name of ours and can be locked is therefore nobody's, and the next command removes it. A
maker that was overtaken by that, between the making and the locking, begins again.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import TargetUnavailable

PREFIX = "autocompress-work-"
_ALIVE = "alive"  # the locked file in a folder, which goes last


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in TMPDIR that is gone at the end. TargetUnavailable when none can be made: nothing can be
    measured then.
    """
    with contextlib.ExitStack() as stack:
        with _unavailable():
            folder = stack.enter_context(folder_in(Path(tempfile.gettempdir())))
        yield folder


def temporary_file() -> IO[bytes]:
    """A file without a name in TMPDIR. TargetUnavailable when none can be made."""
    with _unavailable():
        return tempfile.TemporaryFile()


@contextmanager
def folder_in(place: Path) -> Iterator[Path]:
    """A folder in `place` that is gone at the end. OSError when it cannot be made."""
    _sweep_folders(place)
    folder, lock = _made(place)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


@contextmanager
def locked_part(path: Path) -> Iterator[None]:
    """Makes the empty file `path`, which `sweep_parts` leaves alone during the block."""
    while True:
        path.unlink(missing_ok=True)
        lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        if _locked(lock, path, fcntl.LOCK_EX):
            break
        os.close(lock)
    try:
        yield
    finally:
        os.close(lock)


def sweep_parts(folder: Path) -> None:
    """Removes the half-written files (`.NAME.part`) in `folder` that nobody writes any more."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            if _locked(lock, path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink()
            os.close(lock)


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or "TMPDIR"
        raise TargetUnavailable(
            f"Temporary files cannot be made, {where}: {error.strerror}. Free space there, or set TMPDIR to "
            "another folder."
        ) from error


@functools.cache
def _sweep_folders(place: Path) -> None:
    """Removes the folders that killed processes of this user left in `place`; once in a process."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            if entry.stat(follow_symlinks=False).st_uid == os.getuid():
                _sweep(Path(entry.path))


def _sweep(folder: Path) -> None:
    """Removes a folder unless somebody holds its lock."""
    alive = folder / _ALIVE
    try:
        lock = os.open(alive, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:  # killed before it was made, or after it was removed: nothing else is there
        with contextlib.suppress(OSError):
            folder.rmdir()
        return
    if _locked(lock, alive, fcntl.LOCK_EX | fcntl.LOCK_NB):
        _remove(folder)
    os.close(lock)


def _made(place: Path) -> tuple[Path, int]:
    """A new folder in `place`, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        try:
            lock = os.open(folder / _ALIVE, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # somebody has swept it
            continue
        except OSError:
            folder.rmdir()
            raise
        if _locked(lock, folder / _ALIVE, fcntl.LOCK_EX):
            return folder, lock
        os.close(lock)


def _remove(folder: Path) -> None:
    """Removes a folder whose lock is held, as far as possible; killed on the way, it can be swept."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != _ALIVE:
                Path(entry.path).unlink()
        (folder / _ALIVE).unlink(missing_ok=True)
        folder.rmdir()


def _locked(descriptor: int, path: Path, mode: int) -> bool:
    """Whether the descriptor's file is locked now, and still the one at `path`; a file system without locks
    counts as locked for makers only.
    """
    try:
        fcntl.flock(descriptor, mode)
    except OSError:
        return not mode & fcntl.LOCK_NB
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
