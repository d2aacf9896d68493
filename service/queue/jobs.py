"""Jobs: orders are taken, changed and read."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from ...profiles.units import format_size
from ..access.audit import record
from ..access.caller import Caller
from ..database.opened import Database
from ..database.tables import JobRow, User
from ..order import Order
from ..telling.outbox import Subscribers, tell_of_job
from . import devices, events
from .job import ConflictError, Job, NoJobError, State, TooManyError, Wanted

_LIVE = ("queued", "running", "paused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Which jobs: `owner` by name, `text` in the task or target; `before` is the last id of the page
    before.
    """

    state: State | None = None
    task: str | None = None
    owner: str | None = None
    text: str | None = None
    before: str | None = None
    limit: int = 50


class Jobs:
    """`most_live` is how many jobs a user may have that are not over, `most_bytes` what their runs may take.
    `tells` says who wants to know of what. `clock` is seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        *,
        most_live: int = 1000,
        most_bytes: int | None = None,
        tells: Subscribers | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self._database = database
        self._most_live, self._most_bytes = most_live, most_bytes
        self._tells = tells or {}
        self._clock = clock

    def submit(self, order: Order, caller: Caller, *, key: str | None, origin: str) -> tuple[Job, bool]:
        """A job for the order, and whether it is new: the same key and order again give the same job.

        ConflictError when the key belongs to another order, TooManyError beyond the limit of the user.
        """
        with self._database.writing() as session:
            _lock_owner(session, caller.user_id)
            if key is not None and (known := _with_key(session, caller.user_id, key)) is not None:
                if known.order_digest != order.digest:
                    raise ConflictError(
                        f"The idempotency key {key!r} was used for another order: take a new one."
                    )
                return Job.of(known, caller.name), False
            self._require_room(session, caller)
            row = _new_row(order, caller, key=key, now=self._clock())
            devices.know(session, order.devices)
            session.add(row)
            session.flush()
            record(session, caller, "submit", row.id, origin=origin)
            tell_of_job(session, self._tells, "submitted", row, caller.name, at=self._clock())
            return Job.of(row, caller.name), True

    def _require_room(self, session: Session, caller: Caller) -> None:
        live = session.scalar(
            select(func.count()).where(JobRow.owner_id == caller.user_id, JobRow.state.in_(_LIVE))
        )
        if (live or 0) >= self._most_live:
            raise TooManyError(
                f"{caller.name} has {live} jobs that are not over, which is the limit: cancel one, or wait."
            )
        of_user = select(func.sum(JobRow.disk_bytes)).where(JobRow.owner_id == caller.user_id)
        taken, most = int(session.scalar(of_user) or 0), self._most_bytes
        if most is not None and taken >= most:
            raise TooManyError(
                f"The runs of {caller.name} take {format_size(taken)}, and {format_size(most)} is the limit: "
                "remove the files of one that is over (`DELETE /v1/searches/ID/files`)."
            )

    def get(self, job_id: str, caller: Caller) -> Job:
        """The job. NoJobError when there is none that the caller may see."""
        with self._database.reading() as session:
            return Job.of(*_visible(session, job_id, caller))

    def listed(self, which: Listed, caller: Caller) -> list[Job]:
        """The jobs that the caller may see, the newest first, `limit` at most."""
        query = _seen_by(caller).order_by(JobRow.id.desc()).limit(which.limit)
        conditions = {
            JobRow.state: which.state,
            JobRow.task: which.task,
            User.name: which.owner,
        }
        for column, value in conditions.items():
            query = query if value is None else query.where(column == value)
        if which.text:
            query = query.where(
                JobRow.task.contains(which.text, autoescape=True)
                | JobRow.target.contains(which.text, autoescape=True)
            )
        if which.before:
            query = query.where(JobRow.id < which.before)
        with self._database.reading() as session:
            return [Job.of(row, name) for row, name in session.execute(query)]

    def pause(self, job_id: str, caller: Caller, *, origin: str) -> Job:
        """Stops it at a safe place; `resume` goes on from there."""
        return self._ask(job_id, caller, "pause", waiting="paused", origin=origin)

    def cancel(self, job_id: str, caller: Caller, *, origin: str) -> Job:
        """Stops it for good; what it measured stays."""
        return self._ask(job_id, caller, "cancel", waiting="cancelled", origin=origin)

    def resume(self, job_id: str, caller: Caller, *, origin: str) -> Job:
        """Queues it again after a pause, a failure or a cancellation."""
        with self._database.writing() as session:
            row, name = _visible(session, job_id, caller, lock=True)
            if row.state in ("queued", "finished"):
                raise ConflictError(f"The job is {row.state}: there is nothing to resume.")
            if row.state == "running" and row.wanted == "cancel":
                raise ConflictError("The job is being cancelled: resume it when it has stopped.")
            if row.state == "running":
                row.wanted = "again" if row.wanted == "pause" else row.wanted
            else:
                _queue_again(row)
            row.version += 1
            record(session, caller, "resume", job_id, origin=origin)
            return Job.of(row, name)

    def change_budget(
        self, job_id: str, caller: Caller, *, budget: str | None, trials: int | None, origin: str
    ) -> Job:
        """Gives it another budget; a running or finished search goes on with it. InputError when it is
        none.
        """
        with self._database.writing() as session:
            row, name = _visible(session, job_id, caller, lock=True)
            order = replace(Order.from_json(row.order), budget=budget, trials=trials)
            if row.state == "cancelled" or row.wanted == "cancel":
                raise ConflictError("The job is cancelled: resume it first.")
            row.order, row.order_digest = order.to_json(), order.digest
            if row.state == "running":
                row.wanted = "again" if row.wanted == "run" else row.wanted
            elif row.state in ("finished", "failed"):
                _queue_again(row)
            row.version += 1
            record(session, caller, "budget", job_id, origin=origin)
            return Job.of(row, name)

    def give_up_files(self, job_id: str, caller: Caller, *, origin: str) -> Job:
        """Counts nothing of the disk for it any more. ConflictError while it may still need its files."""
        with self._database.writing() as session:
            row, name = _visible(session, job_id, caller, lock=True)
            if row.state in _LIVE:
                raise ConflictError(f"The job is {row.state} and needs its files: cancel it first.")
            row.disk_bytes = 0
            row.version += 1
            record(session, caller, "remove", job_id, origin=origin)
            return Job.of(row, name)

    def log(
        self, job_id: str, caller: Caller, *, after: int, limit: int = 500
    ) -> list[tuple[int, events.Line]]:
        """Lines of the job's log after the line of the id `after`, with their ids."""
        with self._database.reading() as session:
            _visible(session, job_id, caller)
            return [
                (number, events.Line(number=row.number, at=row.at, kind=row.kind, text=row.text))
                for number, row in events.lines_after(session, job_id, after, limit=limit)
            ]

    def _ask(self, job_id: str, caller: Caller, wanted: Wanted, *, waiting: State, origin: str) -> Job:
        with self._database.writing() as session:
            row, name = _visible(session, job_id, caller, lock=True)
            if row.state in ("finished", "cancelled") or (row.state == "failed" and wanted == "pause"):
                raise ConflictError(f"The job is {row.state}: there is nothing to {wanted}.")
            if row.state == "running":
                row.wanted = wanted
            else:
                row.state, row.wanted, row.ended = waiting, "run", self._clock()
                tell_of_job(session, self._tells, waiting, row, name, at=self._clock())
            row.version += 1
            record(session, caller, wanted, job_id, origin=origin)
            return Job.of(row, name)


def _seen_by(caller: Caller) -> Select[JobRow, str]:
    query = select(JobRow, User.name).join(User, User.id == JobRow.owner_id)
    return query if caller.sees_all else query.where(JobRow.owner_id == caller.user_id)


def _visible(session: Session, job_id: str, caller: Caller, *, lock: bool = False) -> tuple[JobRow, str]:
    query = _seen_by(caller).where(JobRow.id == job_id)
    found = session.execute(query.with_for_update(of=JobRow) if lock else query).one_or_none()
    if found is None:
        raise NoJobError(f"There is no search {job_id!r} that you may see: `GET /v1/searches` lists yours.")
    return found[0], found[1]


def _lock_owner(session: Session, user_id: int) -> None:
    """Two orders of one user come one after the other: the key and the limit hold for both."""
    session.execute(select(User.id).where(User.id == user_id).with_for_update())


def _with_key(session: Session, user_id: int, key: str) -> JobRow | None:
    return session.scalar(select(JobRow).where(JobRow.owner_id == user_id, JobRow.idempotency_key == key))


def _queue_again(row: JobRow) -> None:
    row.state, row.wanted, row.ended, row.message, row.exit_code = "queued", "run", None, "", None
    row.crashes = 0


def _new_row(order: Order, caller: Caller, *, key: str | None, now: float) -> JobRow:
    return JobRow(
        id=f"{int(now * 1_000_000):014x}{secrets.token_hex(4)}",
        owner_id=caller.user_id,
        idempotency_key=key,
        order_digest=order.digest,
        order=order.to_json(),
        task=order.task,
        target=order.target,
        labels=list(order.labels),
        devices=list(order.devices),
        priority=order.priority,
        state="queued",
        wanted="run",
        created=now,
        attempt=0,
        crashes=0,
        message="",
        progress={},
        version=1,
    )
