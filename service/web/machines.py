"""What is there to search on: workers and what they do, boards and who has them, the disk."""

import shutil
import time

from sqlalchemy import select

from ..access.caller import Caller
from ..database.tables import DeviceRow, JobRow, WorkerRow
from .more_schemas import BoardOut, MachinesOut, WorkerOut
from .state import Service

_MOST = 200


def machines_of(service: Service, caller: Caller) -> MachinesOut:
    """The workers, the one heard of last first, and the boards, as the caller may see them."""
    now, disk = time.time(), shutil.disk_usage(service.data)
    with service.database.reading() as session:
        running = {
            row.worker: row for row in session.scalars(select(JobRow).where(JobRow.state == "running"))
        }
        workers = [
            WorkerOut(
                name=one.name,
                labels=one.labels,
                silent_s=max(0.0, now - one.seen),
                busy=one.name in running,
                search=_visible(running.get(one.name), caller),
            )
            for one in session.scalars(select(WorkerRow).order_by(WorkerRow.seen.desc()).limit(_MOST))
        ]
        boards = [
            BoardOut(name=one.name, busy=one.job_id is not None)
            for one in session.scalars(select(DeviceRow).order_by(DeviceRow.name).limit(_MOST))
        ]
    return MachinesOut(
        workers=workers,
        boards=boards,
        devices=list(service.tasks.config.devices),
        free_bytes=disk.free,
        total_bytes=disk.total,
    )


def _visible(row: JobRow | None, caller: Caller) -> str | None:
    """The id of the job, if there is one that the caller may see."""
    mine = row is not None and (caller.sees_all or row.owner_id == caller.user_id)
    return row.id if row is not None and mine else None
