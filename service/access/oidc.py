"""Logging in by an OpenID provider: authorization code with PKCE, state and nonce; the answer's signature is
checked.

`SignIn.begin` gives the provider's address and a cookie; `finish` takes what the browser brings back, and
says who it is. What was begun is kept here for ten minutes and works once, with its cookie alone: an answer
that somebody else sends to a browser logs nobody in.

Source: OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7; RFC 7636 (PKCE).
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ...errors import InputError
from .caller import Scope
from .provider import ProviderConfig, is_secure

_TIMEOUT_S = 10.0
_BEGUN_S = 600.0
_METADATA_S = 3600.0
_LEEWAY_S = 60
_MOST_BEGUN = 10_000
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class SignInError(InputError):
    """Nobody could be logged in; the text is one sentence for the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who logged in, and what they may do. `following` is the page that they wanted."""

    name: str
    scope: Scope
    following: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    state: str
    nonce: str
    verifier: str
    following: str
    redirect: str
    until: float


class SignIn:
    """Logins by one provider. `secret` is the client's, None for a public one."""

    def __init__(
        self, config: ProviderConfig, secret: str | None, *, clock: Callable[[], float] = time.monotonic
    ):
        self.config = config
        self._secret, self._clock = secret, clock
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._lock = threading.Lock()
        self._metadata: tuple[float, Mapping[str, Any]] | None = None

    def begin(self, following: str, *, redirect: str) -> tuple[str, str]:
        """The provider's address to go to, and the cookie to keep. `redirect` is where the provider sends the
        browser afterwards. SignInError when the provider is away.
        """
        begun = _Begun(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(64),
            following=following,
            redirect=redirect,
            until=self._clock() + _BEGUN_S,
        )
        with self._client(begun) as client:
            address, _ = client.create_authorization_url(
                self._endpoint("authorization_endpoint"),
                state=begun.state,
                nonce=begun.nonce,
                code_verifier=begun.verifier,
            )
        cookie = secrets.token_urlsafe(32)
        with self._lock:
            self._begun[cookie] = begun
            while len(self._begun) > _MOST_BEGUN:
                self._begun.popitem(last=False)
        return str(address), cookie

    def finish(self, cookie: str, answer: Mapping[str, str]) -> Person:
        """Who came back with this cookie; `answer` are the parameters of the address. SignInError."""
        with self._lock:
            begun = self._begun.pop(cookie, None)
        if begun is None or begun.until < self._clock():
            raise SignInError("This login was not begun in this browser, or is too old: begin again.")
        if not secrets.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise SignInError("The provider's answer belongs to another login: begin again.")
        if "code" not in answer:
            reason = answer.get("error_description") or answer.get("error") or "it gave no reason"
            raise SignInError(f"{self.config.issuer} did not log you in ({reason[:200]}): begin again.")
        try:
            with self._client(begun) as client:
                token = client.fetch_token(
                    self._endpoint("token_endpoint"), code=answer["code"], code_verifier=begun.verifier
                )
                claims = self._claims(str(token.get("id_token", "")), begun.nonce)
                claims = {**self._more(client, claims), **claims}
        except (OAuthError, httpx.HTTPError) as error:
            raise SignInError(f"{self.config.issuer} did not give a token ({error}): begin again.") from error
        return self._person(claims, begun.following)

    def _client(self, begun: _Begun) -> OAuth2Client:
        return OAuth2Client(
            self.config.client_id,
            self._secret,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope="openid email profile",
            redirect_uri=begun.redirect,
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
        )

    def _claims(self, id_token: str, nonce: str) -> dict[str, Any]:
        """What the provider says of the user, signed by it for us and for this login."""
        try:
            keys = KeySet.import_key_set(self._fetched(self._endpoint("jwks_uri")))
            claims: dict[str, Any] = jwt.decode(id_token, keys, algorithms=_ALGORITHMS).claims
            jwt.JWTClaimsRegistry(
                leeway=_LEEWAY_S,
                iss={"essential": True, "value": self.config.issuer},
                aud={"essential": True, "value": self.config.client_id},
                exp={"essential": True},
                sub={"essential": True},
                nonce={"essential": True, "value": nonce},
            ).validate(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise SignInError(f"What {self.config.issuer} says of you does not hold: begin again.") from error
        if "azp" in claims and claims["azp"] != self.config.client_id:
            raise SignInError(f"What {self.config.issuer} says of you is for another service: begin again.")
        return claims

    def _more(self, client: OAuth2Client, claims: Mapping[str, object]) -> Mapping[str, Any]:
        """What the provider tells only where it is asked: some keep names and groups out of their tokens."""
        wanted = {self.config.user, *(["groups"] if self.config.groups else [])}
        if wanted <= claims.keys() or "userinfo_endpoint" not in self._known():
            return {}
        answer = client.get(self._endpoint("userinfo_endpoint"))
        more = answer.json() if answer.is_success else {}
        return more if isinstance(more, dict) and more.get("sub") == claims["sub"] else {}

    def _person(self, claims: Mapping[str, object], following: str) -> Person:
        name = claims.get(self.config.user)
        if not isinstance(name, str) or not name:
            raise SignInError(
                f"{self.config.issuer} did not give your {self.config.user!r}: ask the administrator."
            )
        if self.config.user == "email" and claims.get("email_verified") is not True:
            raise SignInError(
                f"{self.config.issuer} has not verified the address {name}: verify it there first."
            )
        scope = self.config.scope_of(claims.get("groups"))
        if scope is None:
            raise SignInError(f"None of your groups may use this service, {name}: ask the administrator.")
        return Person(name=name, scope=scope, following=following)

    def _endpoint(self, name: str) -> str:
        address = str(self._known().get(name, ""))
        if not is_secure(address):
            raise SignInError(f"{self.config.issuer} has no {name} with https://: ask the administrator.")
        return address

    def _known(self) -> Mapping[str, Any]:
        """What the provider says of itself, asked once an hour."""
        if self._metadata is None or self._metadata[0] < self._clock():
            said = self._fetched(f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration")
            if said.get("issuer") != self.config.issuer:
                raise SignInError(
                    f"{self.config.issuer} calls itself {said.get('issuer')!r}: the administrator must write "
                    "the issuer in serve.toml in the same way."
                )
            self._metadata = self._clock() + _METADATA_S, said
        return self._metadata[1]

    def _fetched(self, address: str) -> Any:
        try:
            answer = httpx.get(address, timeout=_TIMEOUT_S)
            value = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise SignInError(
                f"{self.config.issuer} is away ({error}): try again, or use a token."
            ) from error
        if not isinstance(value, dict):
            raise SignInError(f"{address} is no OpenID provider's: ask the administrator.")
        return value
