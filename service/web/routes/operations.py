"""Health and metrics, for whoever runs the service."""

import shutil
import time

from fastapi import APIRouter, HTTPException
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select

from ...database.tables import Delivery, DeviceRow, JobRow, WorkerRow
from ...queue.job import STATES
from ..callers import Administrator, InService, Reader
from ..machines import machines_of
from ..more_schemas import DeliveryOut, MachinesOut
from ..problems import PROBLEMS
from ..schemas import when
from ..state import Service

router = APIRouter(tags=["operations"], responses=PROBLEMS)
_HEARD_S = 120.0
NEEDED_BYTES = 64 << 20


@router.get("/healthz", response_class=PlainTextResponse)
def healthz() -> str:
    """The process answers."""
    return "ok\n"


@router.get("/readyz", response_class=PlainTextResponse)
def readyz(service: InService) -> str:
    """The database answers, the disk has space, and the service is not about to end."""
    with service.database.reading() as session:
        session.execute(select(1))
    if shutil.disk_usage(service.data).free < NEEDED_BYTES:
        raise HTTPException(503, f"The disk of {service.data} is full: free {NEEDED_BYTES >> 20} MB.")
    if service.stopping.is_set():
        raise HTTPException(503, "The service is about to end.")
    return "ok\n"


@router.get("/v1/deliveries")
def deliveries(service: InService, caller: Administrator) -> list[DeliveryOut]:
    """The last 200 webhooks and messages, the newest first."""
    with service.database.reading() as session:
        rows = session.scalars(select(Delivery).order_by(Delivery.id.desc()).limit(200)).all()
    return [
        DeliveryOut(
            id=one.id,
            hook=one.hook,
            event=one.event,
            subject=one.subject,
            at=when(one.created) or "",
            state=one.state,
            tries=one.tries,
            said=one.said,
        )
        for one in rows
    ]


@router.get("/v1/machines")
def machines(service: InService, caller: Reader) -> MachinesOut:
    """Workers and what they do, boards and whether they are free, the disk."""
    return machines_of(service, caller)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: InService, caller: Reader) -> PlainTextResponse:
    """For Prometheus: searches by state, workers, boards, failures by exit code, seconds by stage, disk."""
    return PlainTextResponse(
        generate_latest(_collected(service)).decode(), media_type="text/plain; version=0.0.4"
    )


def _collected(service: Service) -> CollectorRegistry:
    registry = CollectorRegistry()
    searches = Gauge("autocompress_searches", "Searches by state", ["state"], registry=registry)
    failed = Gauge(
        "autocompress_failed_searches", "Failed searches by exit code", ["code"], registry=registry
    )
    busy = Gauge("autocompress_devices_busy", "Boards that a search has", registry=registry)
    boards = Gauge("autocompress_devices", "Boards that were ever named", registry=registry)
    workers = Gauge("autocompress_workers", "Workers heard of in two minutes", registry=registry)
    free = Gauge("autocompress_disk_free_bytes", "Free space of the data folder", registry=registry)
    stages = Gauge(
        "autocompress_stage_seconds",
        "Time in a stage since the start",
        ["stage"],
        registry=registry,
    )
    for stage, seconds in service.claims.stage_seconds.copy().items():
        stages.labels(stage).set(seconds)
    free.set(shutil.disk_usage(service.data).free)
    with service.database.reading() as session:
        counts = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
        by_state = dict.fromkeys(STATES, 0) | {row[0]: row[1] for row in counts}
        codes = (
            select(JobRow.exit_code, func.count()).where(JobRow.state == "failed").group_by(JobRow.exit_code)
        )
        for code, count in session.execute(codes):
            failed.labels(str(code)).set(count)
        boards.set(session.scalar(select(func.count()).select_from(DeviceRow)) or 0)
        busy.set(session.scalar(select(func.count()).where(DeviceRow.job_id.is_not(None))) or 0)
        heard = select(func.count()).where(WorkerRow.seen > time.time() - _HEARD_S)
        workers.set(session.scalar(heard) or 0)
    for state, count in by_state.items():
        searches.labels(state).set(count)
    return registry
