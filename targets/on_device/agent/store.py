"""Files on the device by the SHA-256 of their bytes: bounded, verified, and never removed while somebody uses
them.

A file is written to NAME.PID.part, verified and renamed. Whoever uses one holds a shared lock on it; who
makes room takes the lock alone first, so that several agents can share a folder. Standard library only,
Python 3.8.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import Callable, Collection, Iterator

NAME = re.compile(r"[0-9a-f]{64}(\.[A-Za-z0-9]{1,8})?")
_SYNC_BYTES = 8 << 20  # written to the disk as they come: a slow card would take minutes for all at the end
_FULL = (errno.ENOSPC, errno.EDQUOT)


class StoreError(Exception):
    """What went wrong; `kind` is full (the disk), corrupt (bytes that are not those of the name) or
    folder.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind

    @classmethod
    def of(cls, error: OSError, where: object) -> StoreError:
        """The same for an error of the file system."""
        return cls("full" if error.errno in _FULL else "folder", f"{where}: {error.strerror}")


class Store:
    """Files below `folder`, at most `limit_bytes` of them, those in use not counted; `reserve_bytes` of the
    disk stay free.

    `own` is a folder that goes with this process. `verified` are the files whose bytes were looked at since
    it started. `working` is called again and again while that takes long.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        reserve_bytes: int,
        *,
        working: Callable[[], None] = lambda: None,
    ):
        self.working = working
        self.folder, self.limit_bytes, self.reserve_bytes = folder, limit_bytes, reserve_bytes
        self.verified: set[str] = set()
        self._files, self._agents = folder / "files", folder / "agents"
        try:
            for path in (folder, self._files, self._agents):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                raise StoreError("folder", f"{folder} is not a folder of your own")
            folder.chmod(0o700)
            self._sweep()
            self.own = Path(tempfile.mkdtemp(dir=self._agents, prefix=f"{os.getpid()}-"))
            self._alive = (self.own / "alive.part").open("w")
            fcntl.flock(self._alive, fcntl.LOCK_EX)
            (self.own / "alive.part").rename(
                self.own / "alive"
            )  # locked before another agent's sweep sees it
        except OSError as error:
            raise StoreError.of(error, folder) from error

    def close(self) -> None:
        """Removes what only this agent needed."""
        shutil.rmtree(self.own, ignore_errors=True)
        self._alive.close()

    def _sweep(self) -> None:
        """Removes what killed agents left behind: halves of uploads, and folders of their own."""
        for path in self._files.glob("*.part"):
            _remove(path)
        for folder in self._agents.iterdir():
            alive = _locked(folder / "alive", fcntl.LOCK_EX)
            if alive is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(alive)

    def path(self, name: str) -> Path:
        """Where a file is, or would be. StoreError for a name that is no digest."""
        if not NAME.fullmatch(name):
            raise StoreError("corrupt", f"{name!r} is no name of a file")
        return self._files / name

    def pin(self, name: str) -> int | None:
        """A descriptor that keeps the file from being removed until it is closed; None if the file is not
        there, or damaged.
        """
        path = self.path(name)
        descriptor = _locked(path, fcntl.LOCK_SH)
        if descriptor is None:
            return None
        if name not in self.verified:
            if self._digest_of(path) != name[:64]:  # a card that lost power, an editor, a bad block
                os.close(descriptor)
                _remove(path)
                return None
            self.verified.add(name)
        os.utime(path)
        return descriptor

    def _digest_of(self, path: Path) -> str:
        """The SHA-256 of the file, as far as it can be read."""
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                for chunk in iter(lambda: file.read(1 << 20), b""):
                    digest.update(chunk)
                    self.working()
        except OSError:  # a bad block
            return ""
        return digest.hexdigest()

    def free_bytes(self) -> int:
        """What may still be written to the disk of the store."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize - self.reserve_bytes

    def make_room(self, size: int, *, beside: Collection[str] = ()) -> None:
        """Removes the files that were used longest ago, but none `beside`, until `size` bytes fit.

        StoreError of the kind full if they never will.
        """
        files = sorted(_aged(self._files))
        total = sum(bytes_ for _, bytes_, _ in files)
        for _, bytes_, path in files:
            if total + size <= self.limit_bytes and self.free_bytes() >= size:
                return
            if path.name not in beside and _remove(path):
                total -= bytes_
        if self.free_bytes() < size:
            free, reserve = max(0, self.free_bytes()) / 1e6, self.reserve_bytes / 1e6
            raise StoreError(
                "full",
                f"{size / 1e6:.1f} MB do not fit on the disk of {self.folder} ({free:.1f} MB are free beyond "
                f"the reserve of {reserve:.1f} MB)",
            )

    def unpacked(self, name: str) -> Path | None:
        """The folder in which the worker's package `name` (a zip) is unpacked, which goes with this agent;
        None without the zip.
        """
        folder = self.own / f"worker-{name[:64]}"
        if folder.is_dir():
            return folder
        pin = self.pin(name)
        if pin is None:
            return None
        try:
            with tempfile.TemporaryDirectory(dir=self.own) as temporary:
                with zipfile.ZipFile(self.path(name)) as archive:
                    archive.extractall(Path(temporary) / "whole")
                (Path(temporary) / "whole").rename(folder)
        except OSError as error:
            raise StoreError.of(error, self.own) from error
        finally:
            os.close(pin)
        return folder


class Upload:
    """One file on its way into the store. A failure is kept until `finish`: the bytes that follow must be
    read all the same.
    """

    def __init__(self, store: Store, name: str, size: int, *, beside: Collection[str] = ()):
        self.left = size
        self._store, self._name = store, name
        self._digest = hashlib.sha256()
        self._failure: StoreError | None = None
        self._unsynced = 0
        self._descriptor = -1
        try:
            self._path = store.path(name)
            store.make_room(size, beside=beside)
            self._part = self._path.with_name(f"{name}.{os.getpid()}.part")
            self._descriptor = os.open(
                self._part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except (OSError, StoreError) as error:
            self._fail(error)

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        self.left -= len(chunk)
        if self._failure is None:
            self._digest.update(chunk)
            try:
                self._unsynced += len(chunk)
                while chunk:
                    chunk = chunk[os.write(self._descriptor, chunk) :]
                if self._unsynced >= _SYNC_BYTES:
                    os.fsync(self._descriptor)
                    self._unsynced = 0
            except OSError as error:
                self._fail(error)

    def finish(self) -> None:
        """Puts the file in its place. Raises StoreError, and then nothing is left of it."""
        if self._failure is None and self._digest.hexdigest() != self._name[:64]:
            self._fail(StoreError("corrupt", "the bytes that arrived are not those that were announced"))
        if self._failure is None:
            try:
                os.fsync(self._descriptor)
                self._part.rename(self._path)
            except OSError as error:
                self._fail(error)
        if self._failure is not None:
            raise self._failure
        os.close(self._descriptor)
        self._store.verified.add(self._name)

    def _fail(self, error: OSError | StoreError) -> None:
        self._failure = StoreError.of(error, self._name) if isinstance(error, OSError) else error
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._part.unlink()


def _locked(path: Path, mode: int) -> int | None:
    """A descriptor of the file that holds a lock on it, or None if it is gone or somebody else's lock is in
    the way.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        if (
            os.fstat(descriptor).st_ino == path.stat().st_ino
        ):  # not removed or replaced before the lock was ours
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _remove(path: Path) -> bool:
    """Removes a file that nobody holds a lock on; whether it is gone."""
    descriptor = _locked(path, fcntl.LOCK_EX)
    if descriptor is None:
        return False
    path.unlink()
    os.close(descriptor)
    return True


def _aged(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """(time of last use, bytes, path) of every file in a folder."""
    for path in folder.iterdir():
        try:
            status = path.stat()
        except FileNotFoundError:  # another agent's upload was renamed
            continue
        yield status.st_mtime, status.st_size, path
