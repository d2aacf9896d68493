"""The tables. Times are seconds since 1970 (UTC) as floats, secrets are stored as their SHA-256."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Key = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts INTEGER alone by itself


class Base(DeclarativeBase):
    """The root of the tables; without annotations of its own a float is a double."""

    type_annotation_map = {float: Double, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012


class User(Base):
    """Somebody, or something, that owns tokens and jobs."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    created: Mapped[float]


class Token(Base):
    """A token of a user. `scope` is read, submit, admin or work; `expires` is None for never."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scope: Mapped[str] = mapped_column(String(10))
    created: Mapped[float]
    expires: Mapped[float | None]
    revoked: Mapped[float | None]


class BrowserSession(Base):
    """A browser that logged in with a token; `csrf` is what its forms must repeat."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"))
    csrf: Mapped[str] = mapped_column(String(64))
    expires: Mapped[float]


class JobRow(Base):
    """A search. `attempt` counts the claims and fences off workers that lost theirs; `version` counts the
    changes; `wanted` is run, pause or cancel; `progress` is the last that the search said of itself;
    `disk_bytes` is what its run takes, as it was looked at last.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("owner_id", "idempotency_key"),
        Index("ix_jobs_owner_id_id", "owner_id", "id"),
    )
    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    order_digest: Mapped[str] = mapped_column(String(64))
    order: Mapped[dict[str, Any]]
    task: Mapped[str] = mapped_column(String(200), index=True)
    target: Mapped[str] = mapped_column(String(1000))
    labels: Mapped[list[str]]
    devices: Mapped[list[str]]
    priority: Mapped[int]
    state: Mapped[str] = mapped_column(String(10), index=True)
    wanted: Mapped[str] = mapped_column(String(10))
    created: Mapped[float]
    started: Mapped[float | None]
    ended: Mapped[float | None]
    worker: Mapped[str | None] = mapped_column(String(100))
    attempt: Mapped[int]
    lease_until: Mapped[float | None]
    crashes: Mapped[int]
    exit_code: Mapped[int | None]
    message: Mapped[str] = mapped_column(Text)
    progress: Mapped[dict[str, Any]]
    version: Mapped[int]
    disk_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class JobEvent(Base):
    """A line of a job's log; (job, attempt, number) makes telling it twice harmless."""

    __tablename__ = "job_events"
    __table_args__ = (UniqueConstraint("job_id", "attempt", "number"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    attempt: Mapped[int]
    number: Mapped[int]
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(String(20))
    text: Mapped[str] = mapped_column(Text)


class DeviceRow(Base):
    """A device, and the job that has it now: one at a time over all jobs and workers."""

    __tablename__ = "devices"
    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]


class WorkerRow(Base):
    """A worker, and when it was heard of last."""

    __tablename__ = "workers"
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    labels: Mapped[list[str]]
    seen: Mapped[float]


class Delivery(Base):
    """Something to tell by the webhook called `hook`: waiting, sent, or given up. `due` is the time of the
    next try, `said` how the last one ended.
    """

    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    hook: Mapped[str] = mapped_column(String(100))
    event: Mapped[str] = mapped_column(String(20))
    subject: Mapped[str] = mapped_column(String(200))
    body: Mapped[dict[str, Any]]
    created: Mapped[float]
    state: Mapped[str] = mapped_column(String(10), index=True)
    tries: Mapped[int]
    due: Mapped[float]
    said: Mapped[str] = mapped_column(Text)


class Deployment(Base):
    """A point of a search that somebody deployed; `place` is the name of a registry, None for a mark."""

    __tablename__ = "deployments"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    trial: Mapped[int]
    at: Mapped[float]
    by: Mapped[str] = mapped_column(String(100))
    place: Mapped[str | None] = mapped_column(String(100))
    alias: Mapped[str | None] = mapped_column(String(200))
    version: Mapped[int | None]
    digest: Mapped[str] = mapped_column(String(64))


class AuditEntry(Base):
    """Who did what, when and from where. The database refuses to change or remove an entry."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    at: Mapped[float]
    who: Mapped[str] = mapped_column(String(100))
    what: Mapped[str] = mapped_column(String(50))
    subject: Mapped[str] = mapped_column(String(200))
    origin: Mapped[str] = mapped_column(String(100))
