"""`--set-clocks`: boards whose power mode is set and whose clocks are fixed for as long as a search or a
measurement takes.

on_device/board/clocks.py does it on the board, and puts everything back when its worker ends, whatever the
reason. Here is who keeps that worker open, opens it again after a dropped connection, and ends it.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from ..errors import InputError, StageError, TargetUnavailable
from ..profiles.address import TargetAddress
from ..profiles.profile import Profile
from .ssh.board import Board
from .target import Target
from .transport import Transport

# nvpmodel and jetson_clocks may each take a while, and another process's may be put back first.
_TIMEOUT_S = 240.0


class HeldClocks:
    """The clocks of one device, held by a worker of their own. `power_mode` None: the present one.

    `board` is what the worker is reached by; whoever does not wait for the device makes it impatient.
    """

    def __init__(
        self, open_worker: Callable[[], Transport], *, power_mode: str | None, board: Board | None = None
    ):
        self.board = board
        self._open_worker = open_worker
        self._power_mode = power_mode
        self._worker: Transport | None = None

    def ensure(self) -> None:
        """Sets them, unless they are set. TargetUnavailable says why they cannot be."""
        request = {"op": "set_clocks", "power_mode": self._power_mode}
        try:
            if self._worker is not None:
                self._worker.send(request, timeout_s=_TIMEOUT_S)
                return
        except StageError:
            self._close()  # it died, and its guard has put the clocks back
        self._worker = self._open_worker()
        try:
            self._worker.send(request, timeout_s=_TIMEOUT_S)
        except StageError as error:
            self._close()
            raise TargetUnavailable(f"The clocks cannot be set: {error}") from error
        except TargetUnavailable:
            self._close()
            raise

    def release(self) -> None:
        """Puts back what was there. TargetUnavailable if that fails: the next session on the device tries
        again.
        """
        if self._worker is None:
            return
        try:
            self._worker.send({"op": "restore_clocks"}, timeout_s=_TIMEOUT_S)
        except StageError as error:
            raise TargetUnavailable(f"The clocks may not be as they were: {error}") from error
        finally:
            self._close()

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.__exit__(None, None, None)
            self._worker = None


class ClocksOfTargets:
    """The held clocks of all targets of a command; none if `wanted` is False. A context manager that puts
    them back.

    `say` is told what could not be put back.
    """

    def __init__(self, *, wanted: bool, say: Callable[[str], None]):
        self._wanted = wanted
        self._say = say
        self._held: dict[str, HeldClocks] = {}

    def of(self, profile: Profile, address: TargetAddress | None = None) -> HeldClocks | None:
        """Those of a target; nothing happens before they are ensured. InputError for a node of a Ray cluster:
        its resource is the worker's alone.
        """
        if not self._wanted:
            return None
        if address is not None and address.others:
            raise InputError(
                f"--set-clocks is for one board, and {address} names {len(address.boards)}: set the clocks "
                "on each (sudo nvpmodel, sudo jetson_clocks), and leave out --set-clocks."
            )
        if address is not None and address.on_cluster:
            raise InputError(
                f"--set-clocks cannot be given with {address}: leave it out, and fix the clocks of that node "
                "yourself."
            )
        if profile.name not in self._held:
            plain = Target(profile, address=address)
            self._held[profile.name] = HeldClocks(
                plain.open_worker, power_mode=profile.power_mode, board=plain.board
            )
        return self._held[profile.name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, held in self._held.items():
            try:
                held.release()
            except TargetUnavailable as failure:
                self._say(f"Target '{name}': {failure}")
