"""The login page, and the cookie of a browser that logged in."""

from typing import TypeVar
from urllib.parse import urlsplit

from fastapi.responses import Response

from ..callers import COOKIE
from ..state import Service
from .resources import page

AnyResponse = TypeVar("AnyResponse", bound=Response)


def login_page(service: Service, following: str, *, wrong: str) -> str:
    """Asks for a token, or shows the way to the provider; `wrong` is why the last try failed."""
    provider = "" if service.sign_in is None else urlsplit(service.sign_in.config.issuer).hostname
    return page("login.html", None, title="Log in", following=following, wrong=wrong, provider=provider)


def with_session(answer: AnyResponse, cookie: str, service: Service) -> AnyResponse:
    """The answer with the cookie of a session, which scripts cannot read and other sites cannot send."""
    answer.set_cookie(
        COOKIE, cookie, max_age=12 * 3600, httponly=True, samesite="strict", secure=service.secure
    )
    return answer
