"""Logging in by an OpenID provider: away to it, and back."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from ....errors import InputError
from ..callers import InService, Origin
from ..state import Service
from .resources import own_path, page
from .sessions import login_page, with_session

router = APIRouter(include_in_schema=False)
_BEGUN = "autocompress_login"
_PLACE = "/login/oidc"
Text = Annotated[str, Query(max_length=200)]


@router.get(_PLACE)
async def begin(request: Request, service: InService, origin: Origin, next: Text = "/searches") -> Response:
    """Sends the browser to the provider."""
    if service.sign_in is None:
        raise HTTPException(404, "serve.toml names no OpenID provider: log in with a token.")
    if wait_s := service.logins.wait_s(origin):
        return _refused(service, f"Too many tries: wait {wait_s:.0f} s.")
    back = f"{service.sign_in.config.address or str(request.base_url).rstrip('/')}{_PLACE}/done"
    try:
        address, cookie = await run_in_threadpool(service.sign_in.begin, own_path(next), redirect=back)
    except InputError as error:
        return _refused(service, str(error))
    answer = RedirectResponse(address, status_code=303)
    answer.set_cookie(
        _BEGUN, cookie, max_age=600, path=_PLACE, httponly=True, samesite="lax", secure=service.secure
    )
    return answer


@router.get(f"{_PLACE}/done")
async def done(request: Request, service: InService, origin: Origin) -> Response:
    """Logs in whom the provider sent back."""
    try:
        login, following = await run_in_threadpool(_logged_in, service, request, origin)
    except InputError as error:
        return _refused(service, str(error))
    # A page, no redirect: browsers send no strict cookie where another site began the way here.
    html = page("signed_in.html", None, title="Logged in", following=following)
    answer = with_session(HTMLResponse(html), login, service)
    answer.delete_cookie(_BEGUN, path=_PLACE)
    return answer


def _logged_in(service: Service, request: Request, origin: str) -> tuple[str, str]:
    if service.sign_in is None:
        raise InputError("serve.toml names no OpenID provider: log in with a token.")
    person = service.sign_in.finish(request.cookies.get(_BEGUN, ""), request.query_params)
    login = service.access.log_in_as(person.name, person.scope, origin=origin)
    return login.cookie, person.following


def _refused(service: Service, wrong: str) -> HTMLResponse:
    return HTMLResponse(login_page(service, "/searches", wrong=wrong), status_code=403)
