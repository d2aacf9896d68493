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


async def caller_of(
    request: Request,
    _bearer: Annotated[object, Depends(_BEARER)],
    _cookie: Annotated[object, Depends(_SESSION)],
) -> Caller:
    """Who asks. 401 without a token or a session that holds; 403 for a form of another site."""
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
    if caller.csrf is not None and request.method not in _SAFE:
        await _require_own_page(request, caller.csrf)
    return caller


async def _require_own_page(request: Request, expected: str) -> None:
    """403 unless the request repeats what only our own pages know."""
    given = request.headers.get("x-csrf-token")
    if given is None and request.headers.get("content-type", "").startswith(
        "application/x-www-form-urlencoded"
    ):
        given = str((await request.form()).get("csrf", ""))
    same_site(request)
    if not secrets.compare_digest((given or "").encode(), expected.encode()):
        raise HTTPException(
            403, "The form is not from a page of this service, or is too old: load the page again."
        )


def same_site(request: Request) -> None:
    """403 for a form that a browser says another site sent."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "The form is from another site: open a page of this service.")


def _needing(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    async def allowed(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if not caller.may(scope):
            raise HTTPException(403, f"The token has the scope {caller.scope!r}, and this needs {scope!r}.")
        return caller

    return allowed


def origin_of(request: Request) -> str:
    """The address that asks."""
    return request.client.host if request.client else "unknown"


InService = Annotated[Service, Depends(service_of)]
Origin = Annotated[str, Depends(origin_of)]
Reader = Annotated[Caller, Depends(_needing("read"))]
Submitter = Annotated[Caller, Depends(_needing("submit"))]
Deployer = Annotated[Caller, Depends(_needing("deploy"))]
Administrator = Annotated[Caller, Depends(_needing("admin"))]
Worker = Annotated[Caller, Depends(_needing("work"))]
