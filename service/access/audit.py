"""The audit log: who did what, when and from where. The database itself refuses to change it."""

import time

from sqlalchemy.orm import Session

from ...text.printable import printable
from ..database.tables import AuditEntry
from .caller import Caller


def record(session: Session, caller: Caller, what: str, subject: str, *, origin: str) -> None:
    """Adds an entry in the transaction of what it tells: both happen, or neither."""
    session.add(
        AuditEntry(
            at=time.time(), who=caller.name, what=what, subject=printable(subject)[:200], origin=origin[:100]
        )
    )
