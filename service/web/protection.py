"""What stands before every route: the name it is asked by, rates, sizes and times of bodies, headers."""

import asyncio
import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...text.printable import printable
from ..access.rates import Rates
from .problems import problem

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_LOG = logging.getLogger("autocompress.service.requests")
_WORK = "/v1/work/"
_LARGE = (_WORK, "/v1/weights/")  # files are large; their routes count them
_FORM_WITH_FILES = ("POST", "/searches", "multipart/form-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """`hosts` are the names that the service may be asked by; an empty list is all. `work_rates`
    are those of workers. `slow_s` is how long a
    part of a body may take.
    """

    app: ASGIApp
    rates: Rates
    work_rates: Rates | None = None
    hosts: frozenset[str] = frozenset()
    body_bytes: int = 1 << 20
    slow_s: float = 20.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or passes the request on; logs how it ended."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._guarded(scope, receive, answered)
        finally:
            seconds = round(time.monotonic() - began, 4)
            client = scope["client"][0] if scope.get("client") else ""
            entry = {
                "at": round(time.time(), 3),
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "seconds": seconds,
            }
            _LOG.info(json.dumps({**entry, "path": printable(scope["path"])[:300], "from": client}))

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        probed = scope["path"] in ("/healthz", "/readyz")  # by addresses that nobody lists
        if self.hosts and not probed and host.lower() not in self.hosts:
            refusal = problem(400, f"{host!r} is no name of this service: list it as `hosts` in serve.toml.")
            return await refusal(scope, receive, send)
        working = scope["path"].startswith(_WORK)  # many workers of one token, each with its heartbeats
        rates = self.work_rates if working and self.work_rates is not None else self.rates
        key = headers.get("authorization") or (scope["client"][0] if scope.get("client") else "")
        if (wait_s := rates.wait_s(key)) and not scope["path"].startswith("/static/"):
            headers_ = {"Retry-After": str(int(wait_s) + 1)}
            return await problem(429, "Too many requests: wait a second.", headers=headers_)(
                scope, receive, send
            )
        most = None if _is_large(scope, headers) else self.body_bytes
        length = headers.get("content-length", "0")
        if most is not None and (not length.isdecimal() or int(length) > most):
            return await problem(413, _too_large(most))(scope, receive, send)
        await self.app(scope, _Limited(receive, most, self.slow_s), send)


def _is_large(scope: Scope, headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if (scope["method"], scope["path"], kind) == _FORM_WITH_FILES:
        return True
    return bool(scope["path"].startswith(_LARGE) and scope["method"] == "PUT")


def _too_large(most: int) -> str:
    return f"A request has at most {most} bytes."


class _Limited:
    """Receives a body of at most so many bytes, each part in time."""

    def __init__(self, receive: Receive, most: int | None, slow_s: float):
        self._receive, self._most, self._slow_s = receive, most, slow_s
        self._size, self._whole = 0, False

    async def __call__(self) -> Message:
        if self._whole:  # what comes now is that the client left, and may take hours
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._slow_s)
        except TimeoutError as error:
            detail = f"The body did not arrive: send each part within {self._slow_s:.0f} s."
            raise HTTPException(408, detail) from error
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._most is not None and self._size > self._most:
                raise HTTPException(413, _too_large(self._most))
        return message


def names_of(host: str, also: Iterable[str]) -> frozenset[str]:
    """The names that a service bound to `host` may be asked by: for loopback its own alone, so that no page
    of another site can reach it by a name that leads here.
    """
    local = ("localhost", "127.0.0.1", "[::1]", "::1")
    if host in local:
        return frozenset((*local, *(one.lower() for one in also)))
    return frozenset(one.lower() for one in also)
