"""REST: what a search found: front, points, layers, failures, picks, report, bundles."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.responses import FileResponse, HTMLResponse
from starlette.concurrency import run_in_threadpool

from ....api.run import Run
from ....results.choosing.policy import Policy
from ....results.choosing.recommended import recommended
from ....results.records.run import Run as RunRecord
from ....results.report.page import render
from ....results.table_files import front_value, record_of
from ....results.view import views_of
from ...queue.job import ConflictError
from ..bundles import Bundled, bundle_of, note_bundle, view_of
from ..callers import Deployer, InService, Origin, Reader, Submitter
from ..deploying import Wanted, deploy, deployments_of
from ..fields import DropAsked, DurationAsked, SizeAsked, Text
from ..more_schemas import DeploymentIn, DeploymentOut, FailureOut
from ..problems import PROBLEMS
from ..schemas import BundleIn, BundleOut, PickOut
from ..state import Service
from .searches import SearchId

POLICY = "^$|^(fastest|smallest|balanced|most accurate) within [1-9]pp$"
Texts = tuple[str | None, str | None, str | None]  # limits of drop, latency, size
router = APIRouter(prefix="/v1/searches/{search_id}", tags=["results"], responses=PROBLEMS)
# The report is one file with its own script: it runs in a sandbox without the service's cookie.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)


@router.get("/front")
def front(search_id: SearchId, service: InService, caller: Reader) -> dict[str, Any]:
    """The front, as `autocompress front --json` prints it."""
    service.jobs.get(search_id, caller)
    return front_value(service.run(search_id))


@router.get("/points")
def points(search_id: SearchId, service: InService, caller: Reader) -> list[dict[str, Any]]:
    """All measured points with their numbers, on each target."""
    service.jobs.get(search_id, caller)
    run = service.run(search_id)
    best = recommended(run).point.trial
    return [
        {"target": view.target.name, **record_of(point, chosen=point.trial == best)}
        for view in views_of(run)
        for point in view.points
    ]


@router.get("/points/{trial}/layers")
def layers(
    *,
    search_id: SearchId,
    trial: Annotated[int, Path(ge=0, le=10**9)],
    service: InService,
    caller: Reader,
    target: Annotated[Text | None, Query()] = None,
) -> list[dict[str, Any]]:
    """What became of each layer in a point."""
    service.jobs.get(search_id, caller)
    view = view_of(service.run(search_id), target)
    point = next((one for one in view.points if one.trial == trial), None)
    if point is None:
        raise HTTPException(404, f"The search has no measured trial {trial}: /points lists them.")
    return [asdict(layer) for layer in point.layers]


@router.get("/failures")
def failures(search_id: SearchId, service: InService, caller: Reader) -> list[FailureOut]:
    """The candidates that could not be measured: in which stage, and why."""
    service.jobs.get(search_id, caller)
    return [FailureOut(**one.to_json()) for one in service.run(search_id).failures]


@router.get("/pick")
def pick(
    *,
    search_id: SearchId,
    service: InService,
    caller: Reader,
    max_drop: DropAsked | None = None,
    max_latency: DurationAsked | None = None,
    max_size: SizeAsked | None = None,
    minimize: Literal["latency", "size", "drop"] = "latency",
    policy: Annotated[str | None, Query(max_length=200, json_schema_extra={"pattern": POLICY})] = None,
) -> PickOut:
    """The best point within limits such as `1pp`, `2ms`, `200KB`, and its neighbours on the front; or that of
    a policy such as `smallest within 1pp`. 409 when nothing meets them.
    """
    service.jobs.get(search_id, caller)
    if policy:
        return picked_by(service, search_id, policy)
    return picked(service, search_id, (max_drop, max_latency, max_size), minimize)


@router.get("/report", response_class=HTMLResponse)
def report(search_id: SearchId, service: InService, caller: Reader) -> HTMLResponse:
    """The report, one page."""
    service.jobs.get(search_id, caller)
    page = render(service.run(search_id), f"runs/{search_id}")
    return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})


@router.post("/bundles", status_code=201)
async def bundle(
    *, search_id: SearchId, wanted: BundleIn, service: InService, caller: Submitter, origin: Origin
) -> BundleOut:
    """Makes the deployment bundle of a point, as `autocompress pick --trial` does, as a ZIP file."""
    await run_in_threadpool(service.jobs.get, search_id, caller)
    made = await run_in_threadpool(bundle_of, service, search_id, wanted.trial, wanted.target)
    await run_in_threadpool(note_bundle, service, f"{search_id} trial {wanted.trial}", caller, origin)
    return BundleOut(
        name=made.path.name,
        url=f"/v1/searches/{search_id}/bundles/{made.path.name}",
        size_bytes=made.path.stat().st_size,
        sha256=made.sha256,
    )


@router.get("/bundles/{name}", response_class=FileResponse)
def fetch_bundle(
    search_id: SearchId,
    name: Annotated[str, Path(pattern=r"^[0-9a-f]{16}\.zip$")],
    service: InService,
    caller: Reader,
) -> FileResponse:
    """A bundle, in parts where `Range` asks for one. `Repr-Digest` is its SHA-256 (RFC 9530)."""
    service.jobs.get(search_id, caller)
    path = service.data / "bundles" / search_id / name
    if not path.is_file():
        raise HTTPException(404, f"There is no bundle {name!r}: POST makes one.")
    digest = Bundled.read(path).repr_digest
    return FileResponse(path, media_type="application/zip", filename=name, headers={"Repr-Digest": digest})


@router.post("/deployments", status_code=201)
async def deploy_point(
    *, search_id: SearchId, wanted: DeploymentIn, service: InService, caller: Deployer, origin: Origin
) -> DeploymentOut:
    """Marks a point as deployed, and pushes its bundle to a registry, as `autocompress push` does."""
    await run_in_threadpool(service.jobs.get, search_id, caller)
    point = Wanted(trial=wanted.trial, target=wanted.target, registry=wanted.registry, alias=wanted.alias)
    row = await run_in_threadpool(lambda: deploy(service, search_id, point, caller, origin=origin))
    return DeploymentOut.of(row)


@router.get("/deployments")
def deployments(search_id: SearchId, service: InService, caller: Reader) -> list[DeploymentOut]:
    """What was deployed of the search, the last one first."""
    service.jobs.get(search_id, caller)
    return [DeploymentOut.of(row) for row in deployments_of(service, search_id)]


def picked(
    service: Service, search_id: str, limits: Texts, minimize: Literal["latency", "size", "drop"]
) -> PickOut:
    """The point that `pick` takes. NothingMeets when there is none, InputError for a limit without unit."""
    record = service.run(search_id)
    run = Run(path=service.run_folder(search_id), record=record)
    drop, latency, size = (text or None for text in limits)
    best = run.pick(max_drop=drop, max_latency=latency, max_size=size, minimize=minimize)
    return _beside(record, best.trial)


def picked_by(service: Service, search_id: str, policy: str) -> PickOut:
    """The point that a policy takes. ConflictError when there is none."""
    record = service.run(search_id)
    choice = Policy.parse(policy).choose(record)
    if choice is None:
        raise ConflictError(f"No point meets {policy!r}: give it wider limits.")
    return _beside(record, choice.point.trial)


def _beside(record: RunRecord, trial: int) -> PickOut:
    """A point and its neighbours on the front."""
    trials = [point.trial for point in record.front]
    place = trials.index(trial) if trial in trials else None
    faster = trials[place - 1] if place else None
    slower = trials[place + 1] if place is not None and place + 1 < len(trials) else None
    view = views_of(record)[0]
    shown = [one for one in (faster, trial, slower) if one is not None]
    rows = [
        record_of(point, chosen=point.trial == trial)
        for one in shown
        for point in view.points
        if point.trial == one
    ]
    return PickOut(trial=trial, faster=faster, slower=slower, points=rows)
