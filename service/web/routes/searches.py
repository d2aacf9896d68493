"""REST: searches are submitted, listed, looked at and changed."""

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Path, Query, Response

from ...queue.job import Job, State
from ...queue.jobs import Listed
from ..callers import InService, Origin, Reader, Submitter
from ..problems import PROBLEMS
from ..schemas import BudgetIn, LineOut, OrderIn, RecipeOut, SearchesOut, SearchOut, TaskOut

router = APIRouter(prefix="/v1", tags=["searches"], responses=PROBLEMS)
SearchId = Annotated[str, Path(pattern=r"^[0-9a-f]{22}$", description="The search's id.")]
Filter = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]
Key = Annotated[str | None, Header(max_length=200, pattern=r"^[!-~]+$")]


@router.get("/tasks")
def tasks(service: InService, caller: Reader) -> list[TaskOut]:
    """The registered tasks, and what their functions take."""
    known = service.tasks.parameters.items()
    return [
        TaskOut(
            name=name,
            parameters=[
                {
                    "name": one.name,
                    "kind": one.kind,
                    "many": one.many,
                    "required": one.required,
                    "uploads": list(service.tasks.uploadable(name).get(one.name, ())),
                }
                for one in all_of
            ],
        )
        for name, all_of in known
    ]


@router.get("/recipes")
def recipes(service: InService, caller: Reader) -> list[RecipeOut]:
    """The recipes: a name for target, limits, budget and policy."""
    return [
        RecipeOut(name=one.name, about=one.about, policy=one.policy, options=one.options)
        for one in service.tasks.config.recipes.values()
    ]


@router.post("/searches", status_code=201, responses={200: {"model": SearchOut}})
def submit(
    *,
    order: OrderIn,
    service: InService,
    caller: Submitter,
    origin: Origin,
    response: Response,
    idempotency_key: Key = None,
) -> SearchOut:
    """Submits a search. The same `Idempotency-Key` with the same order gives the same search (200)."""
    asked = order.order(service.tasks.config.recipes)
    service.tasks.require(asked, upload_kind=lambda digest: service.uploads.kind(caller.user_id, digest))
    job, new = service.jobs.submit(asked, caller, key=idempotency_key, origin=origin)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/searches/{job.id}"
    return _out(job, response)


@router.get("/searches")
def searches(
    *,
    service: InService,
    caller: Reader,
    state: State | None = None,
    task: Filter = None,
    owner: Filter = None,
    text: Filter = None,
    before: Annotated[str | None, Query(pattern=r"^[0-9a-f]{22}$")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SearchesOut:
    """The searches that the caller may see, the newest first; `text` is in the task or the target."""
    which = Listed(state=state, task=task, owner=owner, text=text, before=before, limit=limit)
    jobs = service.jobs.listed(which, caller)
    following = jobs[-1].id if len(jobs) == limit else None
    return SearchesOut(searches=[SearchOut.of(job) for job in jobs], next=following)


@router.get("/searches/{search_id}", responses={304: {"description": "Not Modified"}})
def search(
    *,
    search_id: SearchId,
    service: InService,
    caller: Reader,
    response: Response,
    if_none_match: Annotated[str | None, Header()] = None,
) -> SearchOut:
    """A search as it is now. `If-None-Match` with the last ETag answers 304 while nothing changed."""
    job = service.jobs.get(search_id, caller)
    if if_none_match == _etag(job):
        raise HTTPException(304, headers={"ETag": _etag(job)})
    return _out(job, response)


@router.post("/searches/{search_id}/pause")
def pause(
    *, search_id: SearchId, service: InService, caller: Submitter, origin: Origin, response: Response
) -> SearchOut:
    """Stops a search at a safe place, until it is resumed."""
    return _out(service.jobs.pause(search_id, caller, origin=origin), response)


@router.post("/searches/{search_id}/resume")
def resume(
    *, search_id: SearchId, service: InService, caller: Submitter, origin: Origin, response: Response
) -> SearchOut:
    """Lets a search go on after a pause, a failure or a cancellation."""
    return _out(service.jobs.resume(search_id, caller, origin=origin), response)


@router.post("/searches/{search_id}/cancel")
def cancel(
    *, search_id: SearchId, service: InService, caller: Submitter, origin: Origin, response: Response
) -> SearchOut:
    """Stops a search for good. What it measured stays."""
    return _out(service.jobs.cancel(search_id, caller, origin=origin), response)


@router.put("/searches/{search_id}/budget")
def budget(
    *,
    search_id: SearchId,
    given: BudgetIn,
    service: InService,
    caller: Submitter,
    origin: Origin,
    response: Response,
) -> SearchOut:
    """Gives a search another budget; one that runs, or is finished, goes on with it."""
    job = service.jobs.change_budget(
        search_id, caller, budget=given.budget, trials=given.trials, origin=origin
    )
    return _out(job, response)


@router.delete("/searches/{search_id}/files")
def remove_files(
    *, search_id: SearchId, service: InService, caller: Submitter, origin: Origin, response: Response
) -> SearchOut:
    """Removes the run, the bundles and the drawings of a search that is over; the search and its log stay."""
    job = service.jobs.give_up_files(search_id, caller, origin=origin)
    service.remove_files(search_id)
    return _out(job, response)


@router.get("/searches/{search_id}/log")
def log(
    search_id: SearchId,
    service: InService,
    caller: Reader,
    after: Annotated[int, Query(ge=0, lt=1 << 62)] = 0,
) -> list[LineOut]:
    """Up to 500 lines of the log after the line of the id `after`."""
    return [LineOut.of(number, line) for number, line in service.jobs.log(search_id, caller, after=after)]


def _etag(job: Job) -> str:
    return f'"{job.version}"'


def _out(job: Job, response: Response) -> SearchOut:
    response.headers["ETag"] = _etag(job)
    return SearchOut.of(job)
