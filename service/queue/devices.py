"""Boards: one job at a time has one, over all jobs and workers."""

from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..database.tables import DeviceRow


def know(session: Session, names: Sequence[str]) -> None:
    """Adds devices that are not known yet, so that they can be taken."""
    for name in sorted(set(names)):
        if session.get(DeviceRow, name) is None:
            try:
                with session.begin_nested():
                    session.execute(insert(DeviceRow).values(name=name, job_id=None, attempt=0))
            except IntegrityError:  # another order named it at the same moment
                continue


def take(session: Session, names: Sequence[str], *, job_id: str, attempt: int) -> bool:
    """Takes all of them for a job, or none: whether they were free."""
    rows = session.scalars(
        select(DeviceRow).where(DeviceRow.name.in_(names)).order_by(DeviceRow.name).with_for_update()
    ).all()
    if any(row.job_id not in (None, job_id) for row in rows):
        return False
    for row in rows:
        row.job_id, row.attempt = job_id, attempt
    return True


def free(session: Session, job_id: str) -> None:
    """Gives back what a job has."""
    session.execute(update(DeviceRow).where(DeviceRow.job_id == job_id).values(job_id=None))
