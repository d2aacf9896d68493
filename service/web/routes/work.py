"""REST for workers: claim, heartbeat, end, and the files of a run."""

from contextlib import suppress
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from ....files import file_below, replacing
from ...queue.claims import Told
from ...uploads import PREFIX, uploads_in
from ...work.syncing import files_of, may_be_sent
from ..callers import InService, Worker
from ..front_state import NoRunError
from ..problems import PROBLEMS
from ..receiving import received
from ..schemas import BeatIn, BeatOut, ClaimOut, EndIn, FilesOut, WorkerIn
from ..state import Service
from .searches import SearchId
from .weights import Digest

router = APIRouter(prefix="/v1/work", tags=["workers"], responses=PROBLEMS)
Attempt = Annotated[int, Query(ge=1, lt=1 << 31)]
FileName = Annotated[str, Path(max_length=250)]
LARGEST_FILE = 4 << 30


@router.post("/began", status_code=204)
def began(worker: WorkerIn, service: InService, caller: Worker) -> None:
    """A worker began: what one of its name had before is queued again."""
    service.claims.began(worker.worker, worker.labels)


@router.post("/claim")
def claim(worker: WorkerIn, service: InService, caller: Worker) -> ClaimOut | None:
    """A job for the worker; null when there is none."""
    job = service.claims.claim(worker.worker, worker.labels)
    if job is None:
        return None
    return ClaimOut(id=job.id, attempt=job.attempt, lease_s=service.claims.lease_s, order=job.order.to_json())


@router.post("/{search_id}/beat")
def beat(search_id: SearchId, told: BeatIn, service: InService, caller: Worker) -> BeatOut:
    """Renews the lease. 409 when another attempt has the job: its command must stop."""
    return BeatOut(wanted=service.claims.beat(search_id, told.attempt, _told(told)))


@router.post("/{search_id}/end", status_code=204)
def end(search_id: SearchId, told: EndIn, service: InService, caller: Worker) -> None:
    """How the command ended."""
    message = told.message.replace("\x00", "")
    job = service.claims.end(
        search_id,
        told.attempt,
        _told(told),
        exit_code=told.exit_code,
        message=message,
        disk_bytes=service.disk_of(search_id),
    )
    if service.traces is not None:
        service.traces.search(job)
    with suppress(NoRunError):
        service.drawn(search_id)


@router.get("/{search_id}/files")
def files(search_id: SearchId, attempt: Attempt, service: InService, caller: Worker) -> FilesOut:
    """The names of the files that the service has of the run."""
    service.claims.require(search_id, attempt)
    return FilesOut(files=list(files_of(service.run_folder(search_id))))


@router.get("/{search_id}/files/{name:path}", response_class=FileResponse)
def fetch(
    *, search_id: SearchId, name: FileName, attempt: Attempt, service: InService, caller: Worker
) -> FileResponse:
    """A file of the run."""
    service.claims.require(search_id, attempt)
    path = _path(service, search_id, name)
    if not path.is_file():
        raise HTTPException(404, f"The run has no file {name!r}.")
    return FileResponse(path, media_type="application/octet-stream")


@router.get("/{search_id}/weights/{digest}", response_class=FileResponse)
def weights(
    search_id: SearchId, digest: Digest, attempt: Attempt, service: InService, caller: Worker
) -> FileResponse:
    """Weights that the job's owner uploaded, if the job names them."""
    job = service.claims.held(search_id, attempt)
    named = [one for text in job.order.arguments.values() for one in uploads_in(text)]
    path = service.uploads.path(job.owner_id, digest) if digest in named else None
    if path is None:
        raise HTTPException(404, f"{PREFIX}{digest} is not there any more: upload it again.")
    return FileResponse(path, media_type="application/octet-stream")


@router.put("/{search_id}/files/{name:path}", status_code=204)
async def send(
    *,
    search_id: SearchId,
    name: FileName,
    attempt: Attempt,
    service: InService,
    caller: Worker,
    request: Request,
    x_sha256: Annotated[str, Header(pattern=r"^[0-9a-f]{64}$")],
) -> Response:
    """Stores a file of the run, when it arrived as a whole."""
    await run_in_threadpool(service.claims.require, search_id, attempt)
    path = _path(service, search_id, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    too_large = HTTPException(413, "A file of a run has at most 4 GB.")
    with replacing(path) as temporary:
        if await received(request, temporary, most=LARGEST_FILE, otherwise=too_large) != x_sha256:
            raise HTTPException(422, f"{name} arrived with another SHA-256: send it again.")
    return Response(status_code=204)


def _path(service: Service, search_id: str, name: str) -> FilePath:
    if not may_be_sent(name):
        raise HTTPException(403, f"{name!r} is no file of a run that goes between machines.")
    return file_below(service.runs / search_id, name)


def _told(told: BeatIn) -> Told:
    return Told(lines=[line.line() for line in told.lines], progress=told.progress)
