"""The lock of the device, over all its users and coordinators: a measurement holds it alone, other work
shares it.

Whoever wants it passes the gate first and stays in it until the lock is granted, so that neither a queue of
measurements nor one of other work keeps the other out for ever. Nobody is waited for here: a refusal says who
is in the way, and who is refused asks again. The kernel drops the locks of an agent that ends. Standard
library only, Python 3.8.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Any

from ..locks import opened, shared_folder

LOCK, GATE = "autocompress-device.lock", "autocompress-device.gate"


class Refusal(Exception):  # noqa: N818 - a reply
    """A request that fails; `reply` says why."""

    def __init__(self, kind: str, message: str = "", **facts: Any):
        super().__init__(message)
        self.reply = dict(facts, ok=False, kind=kind, message=message)


class DeviceLock:
    """The lock for one agent. `who` is a text for those who are refused; of several that share it, the last
    one is told.
    """

    def __init__(self) -> None:
        self._alone: int | None = None
        self._gate: int | None = None

    def take(self, who: str) -> None:
        """Takes the lock alone, until `free`. Refusal of the kind busy says who works there, of the kind lock
        why it cannot be.
        """
        if self._alone is None:
            self._alone = self._granted(fcntl.LOCK_EX, who)

    def share(self, who: str) -> int:
        """A descriptor that shares the lock until it is closed. Refusal as of `take`, while anybody holds it
        alone, too.
        """
        return self._granted(fcntl.LOCK_SH, who)

    def free(self) -> None:
        """Lets go of the lock that was taken alone, and of the gate."""
        if self._alone is not None:
            _note(self._alone, "")
            os.close(self._alone)
            self._alone = None
        self.leave()

    def leave(self) -> None:
        """Gives the gate back: who was refused does not ask again."""
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None

    def _granted(self, mode: int, who: str) -> int:
        lock = _opened(LOCK)
        if self._passed() and _locked(lock, mode):
            self.leave()
            _note(lock, who)
            return lock
        holder = os.pread(lock, 200, 0).decode(errors="replace").strip()
        os.close(lock)
        raise Refusal("busy", holder or "somebody who did not say who is working")

    def _passed(self) -> bool:
        """Whether the gate is ours; then it stays so until the lock is."""
        if self._gate is None:
            gate = _opened(GATE)
            if not _locked(gate, fcntl.LOCK_EX):
                os.close(gate)
                return False
            self._gate = gate
        return True


def _locked(descriptor: int, mode: int) -> bool:
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _note(lock: int, who: str) -> None:
    """Writes into the lock file who has it: on a full disk nothing, which is no reason to keep the lock from
    anybody.
    """
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, who.encode()[:200], 0)


def _opened(name: str) -> int:
    path = shared_folder() / name
    try:
        return opened(path)
    except OSError as error:
        raise Refusal("lock", f"{path}: {error.strerror}", path=str(path)) from error
