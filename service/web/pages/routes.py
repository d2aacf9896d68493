"""The pages."""

from pathlib import Path as FilePath
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from ....api.run import Run
from ....errors import AutocompressError
from ....results.report.compared import comparison_section
from ...access.caller import Caller
from ...queue.job import STATES, Job
from ...queue.jobs import Listed
from ..bundles import bundle_of, note_bundle
from ..callers import COOKIE, Deployer, InService, Origin, Reader, Submitter, same_site
from ..deploying import Wanted, deploy, deployments_of
from ..front_state import NoRunError
from ..machines import machines_of
from ..routes.results import picked, picked_by
from ..routes.searches import SearchId
from ..state import Service
from . import new_search, night_pages, parts, signing_in, upload_pages
from .resources import STATIC, compile_templates, own_path, page, static_file
from .sessions import login_page, with_session

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Query(max_length=200)]
_ROWS = 50
_ACTIONS = ("pause", "resume", "cancel")


def add_pages(app: FastAPI) -> None:
    """Adds the pages, and has errors of pages shown as pages."""
    app.include_router(router)
    app.include_router(new_search.router)
    app.include_router(upload_pages.router)
    app.include_router(night_pages.router)
    app.include_router(signing_in.router)
    compile_templates()
    app.state.error_page = error_page


def error_page(request: Request, status: int, detail: str) -> Response | None:
    """An error as a page; None for a request that wants none. Without a session the login comes first."""
    path = request.url.path
    if path.startswith("/v1/") or "text/html" not in request.headers.get("accept", ""):
        return None
    if status == 401:
        return RedirectResponse(f"/login?{urlencode({'next': path})}", status_code=303)
    return HTMLResponse(
        page("error.html", None, title="That did not work", detail=detail), status_code=status
    )


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Style and scripts, which a browser may keep for a day."""
    if name not in STATIC:
        raise HTTPException(404, f"There is no file {name!r}.")
    content, media = static_file(name)
    return Response(content, media_type=media, headers={"Cache-Control": "public, max-age=86400"})


@router.get("/favicon.ico")
def favicon() -> Response:
    """None: browsers ask for it."""
    return Response(status_code=204)


@router.get("/login")
def login_form(service: InService, next: Text = "/searches") -> HTMLResponse:
    """Asks for a token, or shows the way to the provider."""
    return HTMLResponse(login_page(service, own_path(next), wrong=""))


@router.post("/login")
async def login(request: Request, service: InService, origin: Origin) -> Response:
    """Turns a token into a cookie."""
    same_site(request)
    form = await request.form()
    following = own_path(str(form.get("next", "")))
    if wait_s := service.logins.wait_s(origin):
        wrong = f"Too many tries: wait {wait_s:.0f} s."
    else:
        session = await run_in_threadpool(service.access.log_in, str(form.get("token", "")).strip())
        if session is not None:
            return with_session(RedirectResponse(following, status_code=303), session.cookie, service)
        wrong = "There is no such token, or it is over. A worker's token opens no pages."
    return HTMLResponse(login_page(service, following, wrong=wrong), status_code=403)


@router.post("/logout")
def logout(request: Request, service: InService, caller: Reader) -> Response:
    """Ends the session."""
    service.access.log_out(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/")
def home() -> Response:
    """The list."""
    return RedirectResponse("/searches", status_code=303)


@router.get("/searches")
def searches(
    *,
    service: InService,
    caller: Reader,
    state: Text = "",
    owner: Text = "",
    text: Text = "",
    before: Text = "",
) -> HTMLResponse:
    """The list with its filters, and the form of a new search."""
    known = next((one for one in STATES if one == state), None)
    which = Listed(state=known, owner=owner or None, text=text or None, before=before or None, limit=_ROWS)
    jobs = service.jobs.listed(which, caller)
    older = (
        {"state": state, "owner": owner, "text": text, "before": jobs[-1].id} if len(jobs) == _ROWS else None
    )
    html = page(
        "searches.html",
        caller,
        title="Searches",
        rows=[parts.row_of(job) for job in jobs],
        states=STATES,
        asked={"state": state, "owner": owner, "text": text},
        older=urlencode(older) if older else "",
        tasks=sorted(service.tasks.parameters),
        uploadable={name: service.tasks.uploadable(name) for name in sorted(service.tasks.parameters)},
        largest=service.uploads.largest_bytes,
        recipes=service.tasks.config.recipes.values(),
    )
    return HTMLResponse(html)


@router.get("/searches/{search_id}")
def search(search_id: SearchId, service: InService, caller: Reader) -> HTMLResponse:
    """One search: how far it is, its front, the pick, its log."""
    job = service.jobs.get(search_id, caller)
    html = page(
        "search.html",
        caller,
        title=f"{job.order.task} on {job.order.target}",
        **_parts_of(service, job, caller),
    )
    return HTMLResponse(html)


@router.get("/searches/{search_id}/part/{name}")
def part(search_id: SearchId, name: str, service: InService, caller: Reader) -> HTMLResponse:
    """A part of the page that changes while a search runs."""
    if name not in ("progress", "front"):
        raise HTTPException(404, f"There is no part {name!r}.")
    job = service.jobs.get(search_id, caller)
    return HTMLResponse(page(f"{name}.html", caller, title="", **_parts_of(service, job, caller)))


@router.get("/searches/{search_id}/charts")
def charts(search_id: SearchId, service: InService, caller: Reader) -> Response:
    """The report's charts, as Plotly takes them; none before anything was measured."""
    service.jobs.get(search_id, caller)
    return Response(
        service.drawings.charts(search_id),
        media_type="application/json",
        headers={"X-Drawn": "newest" if _front_of(service, search_id)["newest"] else "older"},
    )


@router.get("/searches/{search_id}/picked")
def pick(
    *,
    search_id: SearchId,
    service: InService,
    caller: Reader,
    max_drop: Text = "",
    max_latency: Text = "",
    max_size: Text = "",
) -> HTMLResponse:
    """What the sliders pick, and its neighbours."""
    job = service.jobs.get(search_id, caller)
    registries = list(service.tasks.config.listed.registries)
    context: dict[str, Any] = {"job": job, "why": "", "picks": [], "registries": registries}
    try:
        limits = (max_drop, max_latency, max_size)
        if job.order.policy and not any(limits):
            chosen = picked_by(service, search_id, job.order.policy)
        else:
            chosen = picked(service, search_id, limits, "latency")
        context["picks"] = parts.pick_rows(service.run(search_id), chosen)
    except AutocompressError as error:
        context["why"] = str(error).splitlines()[0]
    return HTMLResponse(page("picked.html", caller, title="", **context))


@router.post("/searches/{search_id}/bundle")
async def bundle(
    search_id: SearchId, request: Request, service: InService, caller: Submitter, origin: Origin
) -> Response:
    """Makes the bundle of a point and leads to its file."""
    await run_in_threadpool(service.jobs.get, search_id, caller)
    trial = str((await request.form()).get("trial", ""))
    if not trial.isdecimal():
        raise HTTPException(422, "The bundle is of no trial: choose a point.")
    made = await run_in_threadpool(bundle_of, service, search_id, int(trial), None)
    await run_in_threadpool(note_bundle, service, f"{search_id} trial {trial}", caller, origin)
    return RedirectResponse(f"/v1/searches/{search_id}/bundles/{made.path.name}", status_code=303)


@router.post("/searches/{search_id}/deploy")
async def deploy_point(
    search_id: SearchId, request: Request, service: InService, caller: Deployer, origin: Origin
) -> Response:
    """Marks a point as deployed, and pushes it where a registry is chosen."""
    await run_in_threadpool(service.jobs.get, search_id, caller)
    form = await request.form()
    trial, registry = str(form.get("deploy", "")), str(form.get("registry", ""))
    if not trial.isdecimal():
        raise HTTPException(422, "No trial is to be deployed: choose a point.")
    wanted = Wanted(trial=int(trial), registry=registry or None)
    await run_in_threadpool(lambda: deploy(service, search_id, wanted, caller, origin=origin))
    return RedirectResponse(f"/searches/{search_id}", status_code=303)


@router.post("/searches/{search_id}/budget")
async def budget(
    search_id: SearchId, request: Request, service: InService, caller: Submitter, origin: Origin
) -> Response:
    """Gives it another budget."""
    given = str((await request.form()).get("budget", "")).strip()
    await run_in_threadpool(
        lambda: service.jobs.change_budget(
            search_id, caller, budget=given or None, trials=None, origin=origin
        )
    )
    return RedirectResponse(f"/searches/{search_id}", status_code=303)


@router.post("/searches/{search_id}/{action}")
def act(search_id: SearchId, action: str, service: InService, caller: Submitter, origin: Origin) -> Response:
    """Pauses, resumes or cancels it."""
    if action not in _ACTIONS:
        raise HTTPException(404, f"There is nothing called {action!r} to do.")
    getattr(service.jobs, action)(search_id, caller, origin=origin)
    return RedirectResponse(f"/searches/{search_id}", status_code=303)


@router.get("/compare")
def compare(service: InService, caller: Reader, old: Text = "", new: Text = "") -> HTMLResponse:
    """Two searches beside each other, as `autocompress compare` does it."""
    compared, why = "", ""
    if old and new:
        try:
            sides = [_run(service, service.jobs.get(one, caller)) for one in (old, new)]
            compared = comparison_section(sides[0].compare(sides[1]).record)
        except AutocompressError as error:
            why = str(error)
    finished = service.jobs.listed(Listed(state="finished", limit=200), caller)
    html = page(
        "compare.html",
        caller,
        title="Compare",
        rows=[parts.row_of(job) for job in finished],
        old=old,
        new=new,
        compared=compared,
        why=why,
    )
    return HTMLResponse(html)


@router.get("/machines")
def machines(service: InService, caller: Reader) -> HTMLResponse:
    """Workers, boards, and the disk."""
    there = machines_of(service, caller)
    return HTMLResponse(page("machines.html", caller, title="Machines", there=there, data=str(service.data)))


def _parts_of(service: Service, job: Job, caller: Caller) -> dict[str, Any]:
    lines = [line for _, line in service.jobs.log(job.id, caller, after=0)]
    return {"job": job, "row": parts.row_of(job), "lines": lines[-200:], **_front_of(service, job.id)} | {
        "deployments": deployments_of(service, job.id)
    }


def _front_of(service: Service, search_id: str) -> dict[str, Any]:
    """What is drawn of a search's front, and whether a newer one is being drawn."""
    try:
        drawn = service.drawn(search_id)
    except NoRunError:
        return {"front": None, "newest": True}
    return {"front": drawn, "newest": drawn is not None and drawn.newest}


def _run(service: Service, job: Job) -> Run:
    record = service.run(job.id)
    return Run(path=FilePath(f"{job.order.task} {job.id[-6:]}"), record=record)
