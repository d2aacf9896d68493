"""Webhooks: signed and posted, as https://www.standardwebhooks.com has it.

A receiver computes HMAC-SHA256 with the shared key over `ID.TIMESTAMP.BODY`, compares it with the part of
`webhook-signature` behind `v1,`, and refuses a timestamp that is more than some minutes old.
"""

import base64
import hashlib
import hmac
import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """How a receiver answered."""

    yes: bool
    said: str


def signature(secret: str, identity: str, at: int, body: bytes) -> str:
    """The value of `webhook-signature`. A secret behind `whsec_` is Base64."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.digest(key, f"{identity}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def post(url: str, secret: str, identity: str, value: Mapping[str, object], *, at: int) -> Taken:
    """Posts a value; 2xx is taken. A redirect is none: it could lead anywhere."""
    body = json.dumps(value).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "autocompress",
        "webhook-id": identity,
        "webhook-timestamp": str(at),
        "webhook-signature": signature(secret, identity, at, body),
    }
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with closing(kind(str(parts.hostname), parts.port, timeout=_TIMEOUT_S)) as connection:
            connection.request("POST", path, body=body, headers=headers)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Taken(yes=False, said=type(error).__name__)
    return Taken(yes=200 <= status < 300, said=str(status))
