"""Who asks: a token in the header, or the cookie of a browser with proof that its own page sent the form."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.concurrency import run_in_threadpool

from ..access.caller import Caller, Scope
from .state import Service

COOKIE = "autocompress_session"
_BEARER = HTTPBearer(auto_error=False, description="A token.")  # these two tell OpenAPI
_SESSION = APIKeyCookie(name=COOKIE, auto_error=False, description="A browser that logged in.")
_SAFE = ("GET", "HEAD", "OPTIONS")


def service_of(request: Request) -> Service:
    """The service of an app."""
    service: Service = request.app.state.service
    return service


async def authenticated(
    request: Request,
    _bearer: Annotated[object, Depends(_BEARER)],
    _cookie: Annotated[object, Depends(_SESSION)],
) -> Caller:
    """Who asks. 401 without a token or a session that holds."""
    service = service_of(request)
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        caller = await run_in_threadpool(service.access.by_token, token.strip())
    else:
        caller = await run_in_threadpool(service.access.by_cookie, request.cookies.get(COOKIE, ""))
    if caller is None:
        raise HTTPException(
            401,
            "A token is needed, one that holds: send `Authorization: Bearer TOKEN`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return caller


async def caller_of(request: Request, caller: Annotated[Caller, Depends(authenticated)]) -> Caller:
    """Who asks; 403 for a form of another site, too."""
    if caller.csrf is not None and request.method not in _SAFE:
        kind, given = request.headers.get("content-type", ""), None
        if kind.startswith("application/x-www-form-urlencoded"):
            given = str((await request.form()).get("csrf", ""))
        require_own_form(request, caller, given)
    return caller


def require_own_form(request: Request, caller: Caller, given: str | None) -> None:
    """403 unless the request repeats what only our own pages know: in a header, or as `given` in its form."""
    if caller.csrf is None:
        return
    same_site(request)
    given = request.headers.get("x-csrf-token", given) or ""
    if not secrets.compare_digest(given.encode(), caller.csrf.encode()):
        raise HTTPException(
            403, "The form is not from a page of this service, or is too old: load the page again."
        )


def same_site(request: Request) -> None:
    """403 for a form that a browser says another site sent."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "The form is from another site: open a page of this service.")


def _needing(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    async def allowed(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        return _allowed(caller, scope)

    return allowed


async def _sending_files(request: Request, caller: Annotated[Caller, Depends(authenticated)]) -> Caller:
    same_site(request)
    return _allowed(caller, "submit")


def _allowed(caller: Caller, scope: Scope) -> Caller:
    if not caller.may(scope):
        raise HTTPException(403, f"The token has the scope {caller.scope!r}, and this needs {scope!r}.")
    return caller


def origin_of(request: Request) -> str:
    """The address that asks."""
    return request.client.host if request.client else "unknown"


InService = Annotated[Service, Depends(service_of)]
Origin = Annotated[str, Depends(origin_of)]
Reader = Annotated[Caller, Depends(_needing("read"))]
Submitter = Annotated[Caller, Depends(_needing("submit"))]
FilesSubmitter = Annotated[Caller, Depends(_sending_files)]  # of a form that `read_form` reads and proves
Deployer = Annotated[Caller, Depends(_needing("deploy"))]
Administrator = Annotated[Caller, Depends(_needing("admin"))]
Worker = Annotated[Caller, Depends(_needing("work"))]
