"""The form of a new search, with the files that its task takes."""

from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from ....errors import InputError
from ...access.caller import Caller
from ...order import Order
from ...uploads import PREFIX
from ..callers import FilesSubmitter, InService, Origin
from ..routes.weights import UPLOADED
from ..schemas import OrderIn
from ..state import Service
from .forms import SentForm, read_form

router = APIRouter(include_in_schema=False)


@router.post("/searches")
async def submit(request: Request, service: InService, caller: FilesSubmitter, origin: Origin) -> Response:
    """Submits the form; what is wrong comes back with the form's words. Files that arrived stay uploads."""
    with ExitStack() as held:
        form = await read_form(request, caller, service.uploads, held)
        job_id = await run_in_threadpool(_submitted, form, service, caller, origin)
    return RedirectResponse(f"/searches/{job_id}", status_code=303)


def _submitted(form: SentForm, service: Service, caller: Caller, origin: str) -> str:
    texts = {name: text.strip() for name, text in form.texts.items()}
    arguments = arguments_of(texts.get("arguments", ""))
    for name, file in form.files.items():
        argument, _, task = name.partition("@")
        if task != texts.get("task"):
            raise InputError(f"The file is for {argument!r} of {task!r}: choose that task, or no file.")
        file.keep()
        service.access.note(caller, UPLOADED, file.digest, origin=origin)
        arguments[argument] = f"{PREFIX}{file.digest}"
    order = _order(texts, arguments, service)
    service.tasks.require(order, upload_kind=lambda digest: service.uploads.kind(caller.user_id, digest))
    job, _ = service.jobs.submit(order, caller, key=texts.get("key") or None, origin=origin)
    return job.id


def _order(texts: dict[str, str], arguments: dict[str, str], service: Service) -> Order:
    given: dict[str, Any] = {
        name: texts[name] for name in ("task", "target", "budget", "max_drop", "recipe") if texts.get(name)
    }
    given |= {name: [texts[name]] for name in ("max_latency", "max_size") if texts.get(name)}
    given |= {"trials": int(texts["trials"])} if texts.get("trials", "").isdecimal() else {}
    try:
        return OrderIn(**given, arguments=arguments).order(service.tasks.config.recipes)
    except ValidationError as error:
        raise InputError(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}.") from error


def arguments_of(text: str) -> dict[str, str]:
    """`KEY=VALUE` lines as arguments. InputError for another line."""
    pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
    if wrong := next((key for key, equals, _ in pairs if not equals or not key.strip().isidentifier()), None):
        raise InputError(f"{wrong!r} is no KEY=VALUE: write an argument a line, like data=/srv/datasets.")
    return {key.strip(): value.strip() for key, _, value in pairs}
