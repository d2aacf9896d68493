"""Job: a search of somebody, as it is now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ...errors import InputError
from ..database.tables import JobRow
from ..order import Order

State = Literal["queued", "running", "paused", "finished", "failed", "cancelled"]
Wanted = Literal["run", "again", "pause", "cancel"]
STATES: tuple[State, ...] = ("queued", "running", "paused", "finished", "failed", "cancelled")


class NoJobError(InputError):
    """There is no such job, or it is somebody else's."""


class ConflictError(InputError):
    """The job is in a state in which this cannot be done, or the key was used for another order."""


class LeaseLostError(ConflictError):
    """The worker does not have the job any more: another one may have it."""


class TooManyError(InputError):
    """A limit of the user is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`progress` is what the search said of itself last: stage, share, left_s, front …"""

    id: str
    owner: str
    owner_id: int
    order: Order
    state: State
    wanted: Wanted
    created: float
    started: float | None
    ended: float | None
    worker: str | None
    attempt: int
    exit_code: int | None
    message: str
    progress: Mapping[str, Any]
    version: int

    @classmethod
    def of(cls, row: JobRow, owner: str) -> "Job":
        """The job in a row of the table."""
        return cls(
            id=row.id,
            owner=owner,
            owner_id=row.owner_id,
            order=Order.from_json(row.order),
            state=cast(State, row.state),
            wanted=cast(Wanted, row.wanted),
            created=row.created,
            started=row.started,
            ended=row.ended,
            worker=row.worker,
            attempt=row.attempt,
            exit_code=row.exit_code,
            message=row.message,
            progress=row.progress,
            version=row.version,
        )
