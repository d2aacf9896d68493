"""The log of a job: lines with a kind, kept once however often they are told."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..database.tables import JobEvent

_LONGEST = 4000  # characters of a line
SERVICE_LINES = -1_000_000  # lines of the service itself are numbered from here


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a log. `number` counts the lines of an attempt."""

    number: int
    at: float
    kind: str
    text: str


def add_lines(session: Session, job_id: str, attempt: int, lines: Sequence[Line]) -> None:
    """Adds lines that are not there yet."""
    if not lines:
        return
    stored = set(
        session.scalars(
            select(JobEvent.number).where(
                JobEvent.job_id == job_id,
                JobEvent.attempt == attempt,
                JobEvent.number.in_([line.number for line in lines]),
            )
        )
    )
    for line in lines:
        if line.number not in stored:
            stored.add(line.number)
            session.add(
                JobEvent(
                    job_id=job_id,
                    attempt=attempt,
                    number=line.number,
                    at=line.at,
                    kind=line.kind,
                    text=line.text[:_LONGEST],
                )
            )


def note(session: Session, job_id: str, attempt: int, text: str, *, at: float) -> None:
    """Adds a line of the service itself."""
    count = session.scalar(select(func.count()).where(JobEvent.job_id == job_id, JobEvent.number < 0)) or 0
    add_lines(
        session, job_id, attempt, [Line(number=SERVICE_LINES + count, at=at, kind="service", text=text)]
    )


def lines_after(session: Session, job_id: str, after: int, *, limit: int) -> list[tuple[int, JobEvent]]:
    """Up to `limit` lines after the line of this id, with their ids."""
    rows = session.scalars(
        select(JobEvent)
        .where(JobEvent.job_id == job_id, JobEvent.id > after)
        .order_by(JobEvent.id)
        .limit(limit)
    )
    return [(row.id, row) for row in rows]
