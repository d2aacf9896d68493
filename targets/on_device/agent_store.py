"""Files on the device by the SHA-256 of their bytes: bounded, verified, and never removed while somebody uses them.

A file is written to NAME.PID.part, verified and renamed. Whoever uses one holds a shared lock on it; who makes room takes
the lock alone first, so that several agents can share a folder. Standard library only, Python 3.8.
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

NAME = re.compile(r"^[0-9a-f]{64}(\.[A-Za-z0-9]{1,8})?$")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class StoreError(Exception):
    """What went wrong; `kind` is full (the disk), corrupt (bytes that are not those of the name) or folder."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def locked(path, mode):
    """A descriptor of the file that holds a lock on it, or None if it is gone or somebody else's lock is in the way."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == os.stat(path).st_ino:  # not removed or replaced before the lock was ours
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


class Store:
    """Files below `folder`, at most `limit_bytes` of them, of which those in use do not count; `reserve_bytes` of the disk stay free."""

    def __init__(self, folder, limit_bytes, reserve_bytes):
        self.folder, self.limit_bytes, self.reserve_bytes = folder, limit_bytes, reserve_bytes
        self._files, self._agents = os.path.join(folder, "files"), os.path.join(folder, "agents")
        self._verified = set()
        try:
            for path in (folder, self._files, self._agents):
                os.makedirs(path, mode=0o700, exist_ok=True)
            found = os.lstat(folder)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise StoreError("folder", "%s is not a folder of your own" % folder)
            os.chmod(folder, 0o700)
            self._sweep()
            self.own = tempfile.mkdtemp(dir=self._agents, prefix="%d-" % os.getpid())
            self._alive = os.open(os.path.join(self.own, "alive"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX)
        except OSError as error:
            kind = "full" if error.errno in _FULL else "folder"
            raise StoreError(kind, "%s cannot be used: %s" % (folder, error.strerror))

    def close(self):
        """Removes what only this agent needed."""
        shutil.rmtree(self.own, ignore_errors=True)

    def _sweep(self):
        """Removes what killed agents left behind: halves of uploads, and folders of sessions."""
        for name in os.listdir(self._files):
            if name.endswith(".part"):
                self._remove(os.path.join(self._files, name))
        for name in os.listdir(self._agents):
            folder = os.path.join(self._agents, name)
            alive = locked(os.path.join(folder, "alive"), fcntl.LOCK_EX)
            if alive is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(alive)

    @staticmethod
    def _remove(path):
        """Removes a file that nobody holds a lock on; whether it is gone."""
        descriptor = locked(path, fcntl.LOCK_EX)
        if descriptor is None:
            return False
        os.unlink(path)
        os.close(descriptor)
        return True

    def path(self, name):
        """Where a file is, or would be. StoreError for a name that is no digest."""
        if not NAME.match(name):
            raise StoreError("corrupt", "%r is no name of a file" % name)
        return os.path.join(self._files, name)

    def pin(self, name):
        """A descriptor that keeps the file from being removed until it is closed; None if the file is not there, or damaged."""
        path = self.path(name)
        descriptor = locked(path, fcntl.LOCK_SH)
        if descriptor is None:
            return None
        if name not in self._verified:
            if _digest_of(path) != name[:64]:  # a card that lost power, an editor, a bad block
                os.close(descriptor)
                self._remove(path)
                return None
            self._verified.add(name)
        os.utime(path)
        return descriptor

    def free_bytes(self):
        """What may still be written to the disk of the store."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize - self.reserve_bytes

    def make_room(self, size):
        """Removes the files that were used longest ago until `size` bytes fit. StoreError of the kind full if they never will."""
        found = sorted(_aged(self._files))
        total = sum(item[1] for item in found)
        for _, bytes_, path in found:
            if total + size <= self.limit_bytes and self.free_bytes() >= size:
                return
            if self._remove(path):
                total -= bytes_
        if self.free_bytes() < size:
            told = "%.1f MB do not fit on the disk of %s (%.1f MB are free beyond the reserve of %.1f MB)"
            numbers = (size / 1e6, self.folder, max(0, self.free_bytes()) / 1e6, self.reserve_bytes / 1e6)
            raise StoreError("full", told % numbers)

    def unpacked(self, name):
        """The folder in which the worker's package `name` (a zip) is unpacked, which goes with this agent; None without the zip."""
        folder = os.path.join(self.own, "worker-" + name[:64])
        if os.path.isdir(folder):
            return folder
        pin = self.pin(name)
        if pin is None:
            return None
        try:
            with tempfile.TemporaryDirectory(dir=self.own) as temporary:
                whole = os.path.join(temporary, "whole")
                with zipfile.ZipFile(self.path(name)) as archive:
                    archive.extractall(whole)
                os.rename(whole, folder)
        except OSError as error:
            raise StoreError("full" if error.errno in _FULL else "folder", "%s: %s" % (self.own, error.strerror))
        finally:
            os.close(pin)
        return folder


class Upload:
    """One file on its way into the store. A failure is kept until `finish`: the bytes that follow must be read all the same."""

    def __init__(self, store, name, size):
        self._store, self._name, self.left = store, name, size
        self._digest, self._failure, self._descriptor = hashlib.sha256(), None, None
        try:
            self._path = store.path(name)
            store.make_room(size)
            self._part = "%s.%d.part" % (self._path, os.getpid())
            self._descriptor = os.open(self._part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except (OSError, StoreError) as error:
            self._fail(error)

    def write(self, chunk):
        """Takes the next bytes."""
        self.left -= len(chunk)
        if self._failure is None:
            self._digest.update(chunk)
            try:
                while chunk:
                    chunk = chunk[os.write(self._descriptor, chunk) :]
            except OSError as error:
                self._fail(error)

    def finish(self):
        """Puts the file in its place. Raises StoreError, and then nothing is left of it."""
        if self._failure is None and self._digest.hexdigest() != self._name[:64]:
            self._fail(StoreError("corrupt", "the bytes that arrived are not those that were announced"))
        if self._failure is None:
            try:
                os.fsync(self._descriptor)
                os.rename(self._part, self._path)
                os.close(self._descriptor)
            except OSError as error:
                self._fail(error)
        if self._failure is not None:
            raise self._failure
        self._store._verified.add(self._name)

    def _fail(self, error):
        if isinstance(error, OSError):
            error = StoreError("full" if error.errno in _FULL else "folder", "%s: %s" % (self._name, error.strerror))
        self._failure = error
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            os.unlink(self._part)


def _aged(folder):
    """(time of last use, bytes, path) of every file in a folder."""
    for item in os.scandir(folder):
        try:
            found = item.stat()
        except FileNotFoundError:  # another agent's upload was renamed
            continue
        yield found.st_mtime, found.st_size, item.path


def _digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
