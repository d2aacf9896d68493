"""The page of nightly runs: their nights, and the form that changes their files."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from ...access.audit import record
from ...access.caller import Caller
from ..callers import Administrator, InService, Origin, Reader
from ..routes.nights import Name, nightly_runs
from ..state import Service
from .resources import page

router = APIRouter(include_in_schema=False)


@router.get("/nights")
def nights(service: InService, caller: Reader) -> HTMLResponse:
    """The nightly runs."""
    return HTMLResponse(page("nights.html", caller, title="Nights", files=nightly_runs(service, caller)))


@router.post("/nights/{name}")
async def change(
    name: Name, request: Request, service: InService, caller: Administrator, origin: Origin
) -> Response:
    """Replaces a file; what is wrong comes back in the words of `autocompress nightly`."""
    form = await request.form()
    text, etag = str(form.get("text", "")), str(form.get("etag", ""))
    await run_in_threadpool(lambda: service.night_files.write(name, text, etag=etag))
    await run_in_threadpool(_note, service, caller, "nightly", name, origin)
    return RedirectResponse("/nights", status_code=303)


@router.post("/nights/{name}/begin")
def begin(name: Name, service: InService, caller: Administrator, origin: Origin) -> Response:
    """Has a night begin now."""
    service.night_runner.begin(name)
    _note(service, caller, "night", name, origin)
    return RedirectResponse("/nights", status_code=303)


def _note(service: Service, caller: Caller, what: str, name: str, origin: str) -> None:
    with service.database.writing() as session:
        record(session, caller, what, name, origin=origin)
