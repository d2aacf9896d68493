"""Connection: requests to a service. Standard library: `submit` and workers need nothing installed."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import InputError, TargetUnavailable
from ...files import replacing
from ...text.printable import printable
from ...text.secrets import hide

_TIMEOUT_S = 30.0
_CHUNK = 1 << 20
_TOO_MANY, _TRIES, _LONGEST_WAIT_S = 429, 6, 10.0
_LARGEST_ANSWER = 256 << 20


class RefusedError(InputError):
    """The service refused a request; `status` is that of HTTP."""

    def __init__(self, message: str, *, status: int):
        super().__init__(message)
        self.status = status


class Connection:
    """A service at an address such as http://127.0.0.1:8700, asked with a token. Errors: RefusedError in the
    service's words; TargetUnavailable when it cannot be reached or answers as no service does. A request that
    comes too soon after many others is made again after the time that the service says.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = _TIMEOUT_S):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise InputError(
                f"{printable(url)!r} is no address of a service: write it like http://127.0.0.1:8700."
            )
        if not token.isascii() or not token.isprintable():
            raise InputError("The token has characters that no token has: copy it anew.")
        hide(token)
        self.url = url.rstrip("/")
        self._parts, self._token, self._timeout_s = parts, token, timeout_s

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return self.ask("GET", path)

    def ask(
        self, method: str, path: str, value: object = None, *, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON that answers a request with a JSON body; None where nothing is answered."""
        body = None if value is None else json.dumps(value).encode()
        sent = {**({"Content-Type": "application/json"} if body else {}), **(headers or {})}
        with self._answer(method, path, body, sent) as answer:
            text = answer.read(_LARGEST_ANSWER)
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise TargetUnavailable(
                f"{self.url} answers no JSON: it is no service of autocompress."
            ) from error

    def send(self, path: str, data: bytes, *, headers: Mapping[str, str]) -> None:
        """Sends bytes as the body of a PUT."""
        sent = {"Content-Type": "application/octet-stream", **headers}
        with self._answer("PUT", path, data, sent) as answer:
            answer.read()

    def send_file(self, path: str, file: Path) -> None:
        """Sends a file as the body of a PUT."""
        sent = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
        with file.open("rb") as body, self._answer("PUT", path, body, sent) as answer:
            answer.read()

    def fetch(self, path: str, out: Path) -> None:
        """Writes what is at a path to a file, atomically."""
        with (
            self._answer("GET", path, None, {}) as answer,
            replacing(out) as temporary,
            temporary.open("wb") as file,
        ):
            while chunk := answer.read(_CHUNK):
                file.write(chunk)

    def events(self, path: str, *, last: str = "") -> Iterator[tuple[str, str, Any]]:
        """The server-sent events at a path, as they come: id, kind, JSON."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        with self._answer("GET", path, None, headers) as answer:
            fields: dict[str, str] = {}
            while line := answer.readline(1 << 20):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif fields.get("data"):
                    yield fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])
                    fields = {}

    @contextmanager
    def _answer(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        for tries_left in reversed(range(_TRIES)):
            if hasattr(body, "seek"):
                body.seek(0)
            with self._asked(method, path, body, headers) as answer:
                if answer.status != _TOO_MANY or not tries_left:
                    if answer.status >= 400:
                        raise RefusedError(_reason(answer), status=answer.status)
                    yield answer
                    return
                wait_s = _wait_s(answer)
            time.sleep(wait_s)

    @contextmanager
    def _asked(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        parts = self._parts
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=self._timeout_s)
        try:
            sent = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", **headers}
            connection.request(method, parts.path.rstrip("/") + path, body=body, headers=sent)
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            reason = printable(error) or type(error).__name__
            raise TargetUnavailable(
                f"The service at {self.url} cannot be reached ({reason}): start it, or give another --server."
            ) from error
        finally:
            connection.close()


def _wait_s(answer: http.client.HTTPResponse) -> float:
    """The seconds of `Retry-After`, 1 without them."""
    text = answer.headers.get("Retry-After", "1")
    return min(float(text), _LONGEST_WAIT_S) if text.isdecimal() else 1.0


def _reason(answer: http.client.HTTPResponse) -> str:
    """The sentence of a problem, or what HTTP says."""
    try:
        detail = json.loads(answer.read(1 << 16))["detail"]
        return printable(detail)
    except (ValueError, KeyError, TypeError):
        return f"The service answers {answer.status} {printable(answer.reason)}."
