"""Claims: the workers' side of the queue. A lease, renewed by heartbeats, says who has a job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from ..clock import SteadyClock
from ..database.opened import Database
from ..database.tables import JobRow, User, WorkerRow
from ..telling.outbox import Subscribers, tell_of_job
from . import devices, events
from .job import Job, LeaseLostError, Wanted

INTERRUPTED = 130
MOST_CRASHES = 3  # in a row, without a measurement between them
_MOST_LOOKED_AT = 1000
_MOST_STAGES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a worker tells with a heartbeat: lines of the log, and what the search says of itself now."""

    lines: Sequence[events.Line] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)


class Claims:
    """`lease_s` is how long a worker may be silent; `clock` is seconds since 1970, which nobody
    sets back; `most_running` is how many
    jobs of one user run at the same time; `tells` says who wants to know of what.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_s: float = 60.0,
        most_running: int = 1000,
        tells: Subscribers | None = None,
        clock: Callable[[], float] | None = None,
    ):
        self._database = database
        self.lease_s = lease_s
        self._most_running = most_running
        self._tells = tells or {}
        self._clock = clock or SteadyClock()
        self.stage_seconds: dict[str, float] = {}  # of this process, for /metrics

    def claim(self, worker: str, labels: Sequence[str]) -> Job | None:
        """A queued job that this worker can do, which is its own now; None when there is none.

        The highest priority goes first, then whoever has fewer jobs that run, then the oldest.
        """
        with self._database.writing() as session:
            self._seen(session, worker, labels)
            self._expire(session)
            for job_id in self._waiting(session, set(labels)):
                row = session.scalar(
                    select(JobRow)
                    .where(JobRow.id == job_id, JobRow.state == "queued")
                    .with_for_update(skip_locked=True)
                )
                if row is None or not devices.take(
                    session, row.devices, job_id=row.id, attempt=row.attempt + 1
                ):
                    continue
                now = self._clock()
                row.state, row.wanted, row.worker = "running", "run", worker
                row.attempt, row.lease_until = row.attempt + 1, now + self.lease_s
                row.started, row.ended = row.started or now, None
                row.version += 1
                if row.attempt == 1:
                    self._tell(session, row, "started")
                return Job.of(row, _owner(session, row))
        return None

    def beat(self, job_id: str, attempt: int, told: Told) -> Wanted:
        """Renews the lease and stores what is told; returns what is wanted of the job.

        LeaseLostError when the attempt is not the job's: the worker must stop it.
        """
        with self._database.writing() as session:
            row = _held(session, job_id, attempt)
            self._count(row)
            row.lease_until = self._clock() + self.lease_s
            self._store(session, row, told)
            return cast(Wanted, row.wanted)

    def end(
        self, job_id: str, attempt: int, told: Told, *, exit_code: int, message: str, disk_bytes: int = 0
    ) -> Job:
        """How the command of an attempt ended, and what its run takes of the disk. LeaseLostError when the
        attempt is not the job's.
        """
        with self._database.writing() as session:
            row = _held(session, job_id, attempt)
            self._store(session, row, told)
            row.disk_bytes = disk_bytes
            row.exit_code, row.message, row.ended = exit_code, message, self._clock()
            self._settle(session, row)
            devices.free(session, row.id)
            row.lease_until = None
            row.version += 1
            self._tell(session, row, row.state)
            return Job.of(row, _owner(session, row))

    def require(self, job_id: str, attempt: int) -> None:
        """LeaseLostError when the attempt is not the job's."""
        with self._database.reading() as session:
            _held(session, job_id, attempt)

    def held(self, job_id: str, attempt: int) -> Job:
        """The job. LeaseLostError when the attempt is not the job's."""
        with self._database.reading() as session:
            row = _held(session, job_id, attempt)
            return Job.of(row, _owner(session, row))

    def renew_all(self) -> None:
        """Gives every worker a whole lease from now on: the service was away, or its clock was set."""
        with self._database.writing() as session:
            running = update(JobRow).where(JobRow.state == "running", JobRow.lease_until.is_not(None))
            session.execute(running.values(lease_until=self._clock() + self.lease_s))

    def expire(self) -> int:
        """Queues again what workers have that are silent for too long; how many there were."""
        with self._database.writing() as session:
            return self._expire(session)

    def began(self, worker: str, labels: Sequence[str]) -> int:
        """A worker began: what one of its name had before is queued again at once; how many there were."""
        with self._database.writing() as session:
            self._seen(session, worker, labels)
            return self._lost(session, JobRow.worker == worker, f"The worker {worker} began anew.")

    def _expire(self, session: Session) -> int:
        silent = f"Its worker was not heard of for {self.lease_s:.0f} s."
        return self._lost(session, JobRow.lease_until < self._clock(), silent)

    def _lost(self, session: Session, which: ColumnElement[bool], why: str) -> int:
        """Queues again, or stops as wanted, the running jobs that no worker has any more."""
        query = select(JobRow).where(JobRow.state == "running", which)
        rows = session.scalars(query.with_for_update(skip_locked=True)).all()
        for row in rows:
            events.note(
                session, row.id, row.attempt, f"{why} The search goes on from there.", at=self._clock()
            )
            row.exit_code, row.message = None, why
            self._requeue(row)
            devices.free(session, row.id)
            row.version += 1
            self._tell(session, row, row.state)
        return len(rows)

    def _settle(self, session: Session, row: JobRow) -> None:
        """The state after the command ended."""
        code, wanted = row.exit_code, row.wanted
        if code in (0, 1):
            row.state = "queued" if wanted == "again" else "finished"
        elif code == INTERRUPTED or wanted in ("pause", "cancel"):
            self._requeue(row)
        elif code is not None and code < 0 and row.crashes + 1 < MOST_CRASHES:
            row.crashes += 1
            events.note(session, row.id, row.attempt, f"{row.message}: tried again.", at=self._clock())
            row.state = "queued"
        else:
            row.state = "failed"
        row.wanted = "run"

    def _requeue(self, row: JobRow) -> None:
        """The state of what was interrupted, by what is wanted of it."""
        row.state = {"pause": "paused", "cancel": "cancelled"}.get(row.wanted, "queued")
        row.wanted, row.lease_until = "run", None
        row.ended = None if row.state == "queued" else self._clock()

    def _store(self, session: Session, row: JobRow, told: Told) -> None:
        if told.progress and dict(told.progress) != row.progress:
            if told.progress.get("measured") != row.progress.get("measured"):
                row.crashes = 0
            row.progress = {**row.progress, **told.progress}
            row.version += 1
        events.add_lines(session, row.id, row.attempt, told.lines)

    def _waiting(self, session: Session, labels: set[str]) -> list[str]:
        """The ids of queued jobs for a worker with these labels, in their order."""
        counts = select(JobRow.owner_id, func.count()).where(JobRow.state == "running")
        running = {row[0]: row[1] for row in session.execute(counts.group_by(JobRow.owner_id))}
        queued = session.execute(
            select(JobRow.id, JobRow.owner_id, JobRow.priority, JobRow.labels)
            .where(JobRow.state == "queued")
            .order_by(JobRow.priority.desc(), JobRow.id)
            .limit(_MOST_LOOKED_AT)
        ).all()
        fitting = [
            (-priority, running.get(owner, 0), job_id)
            for job_id, owner, priority, needed in queued
            if set(needed) <= labels and running.get(owner, 0) < self._most_running
        ]
        return [job_id for _, _, job_id in sorted(fitting)]

    def _count(self, row: JobRow) -> None:
        """Counts the time since the last heartbeat for the stage that was told then."""
        if row.lease_until is not None and (text := str(row.progress.get("stage", ""))):
            seconds = min(max(0.0, self._clock() + self.lease_s - row.lease_until), self.lease_s)
            kind = stage_kind(text)
            if kind not in self.stage_seconds and len(self.stage_seconds) >= _MOST_STAGES:
                kind = "other"
            self.stage_seconds[kind] = self.stage_seconds.get(kind, 0.0) + seconds

    def _tell(self, session: Session, row: JobRow, event: str) -> None:
        tell_of_job(session, self._tells, event, row, _owner(session, row), at=self._clock())

    def _seen(self, session: Session, name: str, labels: Sequence[str]) -> None:
        session.merge(WorkerRow(name=name, labels=list(labels), seen=self._clock()))


def stage_kind(text: str) -> str:
    """What a stage is about, without names and numbers: `trial 7: measuring x` is `measuring`."""
    _, colon, rest = text.partition(": ")
    words = (rest if colon and text.startswith("trial ") else text).split(":")[0].split()
    return " ".join(word for word in words[:2] if word.isalpha())[:40] or "other"


def _held(session: Session, job_id: str, attempt: int) -> JobRow:
    row = session.scalar(select(JobRow).where(JobRow.id == job_id).with_for_update())
    if row is None or row.attempt != attempt or row.state != "running":
        raise LeaseLostError(
            f"Attempt {attempt} of {job_id} is over: stop its command, another worker may have it."
        )
    return row


def _owner(session: Session, row: JobRow) -> str:
    return session.scalars(select(User.name).where(User.id == row.owner_id)).one()
