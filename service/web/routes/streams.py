"""Server-sent events of a search: its state when it changes, its log line by line."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from ...access.caller import Caller
from ...queue.job import Job
from ..callers import InService, Reader
from ..problems import PROBLEMS
from ..schemas import LineOut, SearchOut
from ..state import Service
from .searches import SearchId

router = APIRouter(prefix="/v1", tags=["searches"], responses=PROBLEMS)
_LOOK_S, _QUIET_S = 1.0, 15.0
MOST_STREAMS = 100
_open = 0  # of this process


@router.get(
    "/searches/{search_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def events(
    *,
    search_id: SearchId,
    request: Request,
    service: InService,
    caller: Reader,
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None,
) -> StreamingResponse:
    """Events as they come: `state` (the search), `log` (a line; `Last-Event-ID` may repeat its id), `end`."""
    await run_in_threadpool(service.jobs.get, search_id, caller)
    if _open >= MOST_STREAMS:
        raise HTTPException(503, f"{MOST_STREAMS} streams are open, which is the limit: try later.")
    stream = _stream(service, search_id, caller, after=int(last_event_id or 0))
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _stream(service: Service, search_id: str, caller: Caller, *, after: int) -> AsyncIterator[str]:
    global _open  # noqa: PLW0603 - a count of this process
    _open += 1
    try:
        version, quiet_s = 0, 0.0
        while not service.stopping.is_set():
            job, lines = await run_in_threadpool(_look, service, search_id, caller, after)
            for number, text in lines:
                after, quiet_s = number, 0.0
                yield _event("log", text, number)
            if job.version != version:
                version, quiet_s = job.version, 0.0
                yield _event("state", SearchOut.of(job).model_dump_json())
            if job.state not in ("queued", "running") and not lines:
                yield _event("end", json.dumps({"state": job.state}))
                return
            if quiet_s >= _QUIET_S:
                quiet_s = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(_LOOK_S)
            quiet_s += _LOOK_S
    finally:
        _open -= 1


def _look(service: Service, search_id: str, caller: Caller, after: int) -> tuple[Job, list[tuple[int, str]]]:
    job = service.jobs.get(search_id, caller)
    lines = service.jobs.log(search_id, caller, after=after)
    return job, [(number, LineOut.of(number, line).model_dump_json()) for number, line in lines]


def _event(kind: str, data: str, number: int | None = None) -> str:
    identity = "" if number is None else f"id: {number}\n"
    return f"event: {kind}\n{identity}data: {data}\n\n"
