"""Errors as problem details (RFC 9457), with the sentences of the command line."""

import http
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ...errors import AutocompressError, InputError, TargetUnavailable
from ...results.pick import NothingMeets
from ...text.printable import printable
from ..nights.files import ChangedError
from ..queue.job import ConflictError, NoJobError, TooManyError
from .front_state import NotThereError

MEDIA = "application/problem+json"
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NoJobError, 404),
    (NotThereError, 404),
    (ChangedError, 412),
    (ConflictError, 409),
    (TooManyError, 429),
    (NothingMeets, 409),
    (InputError, 422),
    (TargetUnavailable, 503),
)


class Problem(BaseModel):
    """What went wrong, by RFC 9457; `detail` is one sentence with the remedy."""

    type: str
    title: str
    status: int
    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": http.HTTPStatus(status).phrase,
        "content": {MEDIA: {"schema": Problem.model_json_schema()}},
    }
    for status in (400, 401, 403, 404, 405, 409, 412, 413, 422, 429, 503)
}


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed."""
    title = http.HTTPStatus(status).phrase
    value = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": printable(" ".join(detail.split())),
    }
    return JSONResponse(value, status_code=status, headers=dict(headers or {}), media_type=MEDIA)


def status_of(error: Exception) -> int:
    """The status of HTTP for one of the project's errors."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _methods(request: Request) -> str:
    """What the path takes, over all of its routes."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] != Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))


def _answer(
    request: Request, status: int, detail: str, *, headers: Mapping[str, str] | None = None
) -> Response:
    """The error as a page for whoever looks at pages, else as a problem."""
    made: Response | None = None
    if (as_page := getattr(request.app.state, "error_page", None)) is not None:
        made = as_page(request, status, detail)
    return problem(status, detail, headers=headers) if made is None else made


def add_handlers(app: FastAPI) -> None:
    """Turns every error of a route into a problem. A bug is one without its details, which are in the log."""

    @app.exception_handler(AutocompressError)
    async def _ours(request: Request, error: AutocompressError) -> Response:
        return _answer(request, status_of(error), str(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
        return _answer(request, 422, f"{place}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        headers = {"Allow": _methods(request)} if error.status_code == 405 else error.headers
        return _answer(request, error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(OperationalError)
    async def _no_database(request: Request, error: OperationalError) -> Response:
        logging.getLogger("autocompress.service").error("%s", error.orig)
        return _answer(request, 503, "The database cannot be reached: try again when it is back.")

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> JSONResponse:
        logging.getLogger("autocompress.service").error(
            "%s %s", request.method, request.url.path, exc_info=error
        )
        return problem(500, "Something is wrong in the service: its log says what.")
