"""The cookie of a browser that logged in."""

from typing import TypeVar

from fastapi.responses import Response

from ..callers import COOKIE
from ..state import Service

AnyResponse = TypeVar("AnyResponse", bound=Response)


def with_session(answer: AnyResponse, cookie: str, service: Service) -> AnyResponse:
    """The answer with the cookie of a session, which scripts cannot read and other sites cannot send."""
    answer.set_cookie(
        COOKIE, cookie, max_age=12 * 3600, httponly=True, samesite="strict", secure=service.secure
    )
    return answer
