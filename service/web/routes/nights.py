"""REST: nightly runs: their files with an ETag, their nights, and a night that begins now."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import HTMLResponse

from ...access.audit import record
from ..callers import Administrator, InService, Origin, Reader
from ..front_state import NotThereError
from ..more_schemas import NightlyIn, NightlyOut
from ..problems import PROBLEMS
from .results import REPORT_POLICY

router = APIRouter(prefix="/v1/nightly", tags=["nights"], responses=PROBLEMS)
Name = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,60}$")]


@router.get("")
def nightly_runs(service: InService, caller: Reader) -> list[NightlyOut]:
    """The nightly runs that serve.toml lists, with their last 30 nights."""
    files = map(service.night_files.read, service.night_files.names)
    return [NightlyOut.of(file, running=service.night_runner.running(file.name)) for file in files]


@router.get("/{name}")
def nightly_run(name: Name, service: InService, caller: Reader, response: Response) -> NightlyOut:
    """One of them; its ETag is needed to change the file."""
    file = service.night_files.read(name)
    response.headers["ETag"] = file.etag
    return NightlyOut.of(file, running=service.night_runner.running(name))


@router.put("/{name}")
def change_nightly(
    *,
    name: Name,
    given: NightlyIn,
    service: InService,
    caller: Administrator,
    origin: Origin,
    response: Response,
    if_match: Annotated[str, Header(max_length=200)],
) -> NightlyOut:
    """Replaces the file, whose text is checked as `autocompress nightly` does it. `If-Match` must be the ETag
    that was read: 412 when somebody changed it since.
    """
    file = service.night_files.write(name, given.text, etag=if_match)
    with service.database.writing() as session:
        record(session, caller, "nightly", name, origin=origin)
    response.headers["ETag"] = file.etag
    return NightlyOut.of(file, running=service.night_runner.running(name))


@router.post("/{name}/nights", status_code=202)
def begin_night(name: Name, service: InService, caller: Administrator, origin: Origin) -> NightlyOut:
    """Has a night begin now. 409 while one runs."""
    service.night_runner.begin(name)
    with service.database.writing() as session:
        record(session, caller, "night", name, origin=origin)
    return NightlyOut.of(service.night_files.read(name), running=True)


@router.get("/{name}/page", response_class=HTMLResponse)
def nights_page(name: Name, service: InService, caller: Reader) -> HTMLResponse:
    """The page of all nights, which `autocompress nightly` writes."""
    file = service.night_files.read(name)
    path = None if file.config is None else file.config.folder / "index.html"
    if path is None or not path.is_file():
        raise NotThereError(f"{name} had no night yet.")
    return HTMLResponse(path.read_text(encoding="utf-8"), headers={"Content-Security-Policy": REPORT_POLICY})
