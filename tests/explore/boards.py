"""Targets whose connection fails at chosen moments: a fake at the level of Transport around real worker
processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from autocompress.errors import StageError, TargetUnavailable
from autocompress.profiles import Profile, TargetAddress
from autocompress.targets.store import MeasurementStore
from autocompress.targets.target import Target
from autocompress.targets.transport import Transport

GONE = "ssh: connect to host 10.0.0.5 port 22: No route to host."


@dataclass
class Board:
    """A board on the desk. `plan` are the numbers of measurements (from 1) at which its plug is pulled, and
    for how many tries.
    """

    plugged: bool = True
    plan: dict[int, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # of its environment
    measured: int = 0
    connects: int = 0

    def connect(self) -> None:
        self.connects += 1
        if not self.plugged:
            raise TargetUnavailable(GONE)

    def measure(self) -> None:
        """In the middle of a measurement the connection may drop."""
        number = self.measured + 1
        if self.plan.get(number, 0) > 0:
            self.plan[number] -= 1
            raise StageError(
                f"The connection was lost. {GONE}", stage="measure", kind="device", retryable=True
            )
        self.measured = number


class Cable:
    """The transport to a board: a real worker behind a plug."""

    def __init__(self, worker: Transport, board: Board):
        self._worker, self._board = worker, board

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()

    def send(self, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        if request["op"] == "measure" and request["model"] != request["baseline"]:
            self._board.measure()
        result = self._worker.send(request, timeout_s=timeout_s)
        if request["op"] == "probe":
            return {**result, **self._board.facts}
        if request["op"] == "measure":
            return {**result, "environment": {**result["environment"], **self._board.facts}}
        return result


def target_on(boards: Mapping[str, Board]) -> type[Target]:
    """The class of targets that are on these boards, by name."""

    class OnBoard(Target):
        def __init__(
            self,
            profile: Profile,
            store: MeasurementStore | None = None,
            *,
            address: TargetAddress,
            **options: Any,
        ):
            super().__init__(profile, store, **options)

        def open_worker(self) -> Any:
            board = boards[self.profile.name]
            board.connect()
            return Cable(super().open_worker(), board)

    return OnBoard
