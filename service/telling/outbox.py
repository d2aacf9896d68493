"""The outbox: what is to be told, written in the transaction of what happened."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from ...text.printable import printable_strings
from ..database.tables import Delivery, JobRow

Subscribers = Mapping[str, tuple[str, ...]]  # events by the name of who wants them


def tell(
    session: Session, to: Subscribers, event: str, subject: str, about: Mapping[str, object], *, at: float
) -> None:
    """Adds a delivery for each who wants this event."""
    for hook, events in to.items():
        if event in events:
            body: Any = printable_strings({"event": event, "at": at, **about})
            session.add(
                Delivery(
                    hook=hook, event=event, subject=subject, body=body, created=at, state="waiting",
                    tries=0, due=at, said="",
                )
            )  # fmt: skip


def tell_of_job(session: Session, to: Subscribers, event: str, row: JobRow, owner: str, *, at: float) -> None:
    """Tells what happened to a job."""
    about = {
        "id": row.id, "owner": owner, "task": row.task, "target": row.target, "state": row.state,
        "exit_code": row.exit_code, "message": row.message, "page": f"/searches/{row.id}",
    }  # fmt: skip
    tell(session, to, event, row.id, {"search": about}, at=at)
