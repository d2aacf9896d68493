"""What the pages show of a search, a run and the machines."""

import shutil
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from ....errors import InputError
from ....results.formats import Formats, ratio_text
from ....results.records.run import Run
from ....results.view import views_of
from ...access.caller import Caller
from ...database.tables import DeviceRow, JobRow, WorkerRow
from ...queue.job import Job
from ..schemas import PickOut, when
from ..state import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A search in a list."""

    job: Job
    created: str
    share: int | None
    left_s: float | None
    best: str

    @property
    def over(self) -> bool:
        """Whether nothing happens any more."""
        return self.job.state not in ("queued", "running")


def row_of(job: Job) -> Row:
    """The line of a search in the list."""
    front = job.progress.get("front") or []
    ratios = [point.get("latency_ratio") for point in front if isinstance(point, dict)]
    fastest = min((one for one in ratios if isinstance(one, int | float)), default=None)
    share, left = job.progress.get("share"), job.progress.get("left_s")
    running = job.state == "running"
    return Row(
        job=job,
        created=(when(job.created) or "")[:16].replace("T", " "),
        share=round(100 * share) if isinstance(share, int | float) and 0 <= share <= 1 else None,
        left_s=float(left) if running and isinstance(left, int | float) else None,
        best="" if fastest is None else f"{len(front)} points, fastest {ratio_text(fastest)}",
    )


def pick_rows(run: Run, chosen: PickOut) -> list[dict[str, Any]]:
    """The picked point between its neighbours, their numbers as text."""
    view = views_of(run)[0]
    formats = Formats.of(view)
    roles = {chosen.trial: "picked", chosen.faster: "faster neighbour", chosen.slower: "slower neighbour"}
    return [
        {
            "role": roles[point.trial],
            "trial": point.trial,
            "quality": formats.quality(point.quality.validation),
            "drop": formats.drop(point.drop),
            "latency": formats.seconds_of(point),
            "size": formats.size_of(point),
        }
        for trial in (chosen.faster, chosen.trial, chosen.slower)
        for point in view.points
        if trial is not None and point.trial == trial
    ]


def arguments_of(text: str) -> dict[str, str]:
    """`KEY=VALUE` lines as arguments. InputError for another line."""
    pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
    if wrong := next((key for key, equals, _ in pairs if not equals or not key.strip().isidentifier()), None):
        raise InputError(f"{wrong!r} is no KEY=VALUE: write an argument a line, like data=/srv/datasets.")
    return {key.strip(): value.strip() for key, _, value in pairs}


def machines(service: Service, caller: Caller) -> dict[str, Any]:
    """Workers and what they do, boards and who has them, the disk."""
    now, disk = time.time(), shutil.disk_usage(service.data)
    with service.database.reading() as session:
        running = {
            row.worker: row for row in session.scalars(select(JobRow).where(JobRow.state == "running"))
        }
        workers = [
            {
                "name": one.name,
                "labels": ", ".join(one.labels),
                "ago_s": max(0.0, now - one.seen),
                "job": _seen(running.get(one.name), caller),
            }
            for one in session.scalars(select(WorkerRow).order_by(WorkerRow.seen.desc()).limit(200))
        ]
        boards = [
            {"name": one.name, "busy": one.job_id is not None}
            for one in session.scalars(select(DeviceRow).order_by(DeviceRow.name).limit(200))
        ]
    return {
        "workers": workers,
        "boards": boards,
        "disk": {"free": disk.free, "total": disk.total},
        "data": str(service.data),
    }


def _seen(row: JobRow | None, caller: Caller) -> str:
    """The id of the job if the caller may see it, `busy` if not, empty without one."""
    if row is None:
        return ""
    return row.id if caller.sees_all or row.owner_id == caller.user_id else "busy"
