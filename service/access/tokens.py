"""Users, tokens and sessions of the browser. A token is shown once, when it is made."""

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ...errors import InputError
from ..database.opened import Database
from ..database.tables import BrowserSession, Token, User
from .audit import record
from .caller import SCOPES, Caller, Scope

PREFIX = "acp_"
_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_SESSION_S = 12 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a browser keeps after a login, and until when."""

    cookie: str
    expires: float


class Access:
    """Makes tokens and sessions and recognizes them. `clock` returns seconds since 1970."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time):
        self._database = database
        self._clock = clock

    def any_token(self) -> bool:
        """Whether a token was ever made."""
        with self._database.reading() as session:
            return session.scalar(select(Token.id).where(Token.scope != "work").limit(1)) is not None

    def make(self, user: str, scope: str, *, lasts_s: float | None = None) -> str:
        """A new token of the user, who is made when unknown. InputError for a name or scope that is none."""
        if not _NAME.fullmatch(user):
            raise InputError(f"{user!r} is no name of a user: use letters, digits, . _ @ and -.")
        if scope not in SCOPES:
            raise InputError(f"There is no scope {scope!r}: choose {', '.join(SCOPES)}.")
        text, now = PREFIX + secrets.token_urlsafe(_BYTES), self._clock()
        with self._database.writing() as session:
            token = Token(
                user_id=_user(session, user, now).id,
                digest=_digest(text),
                scope=scope,
                created=now,
                expires=None if lasts_s is None else now + lasts_s,
                revoked=None,
            )
            session.add(token)
        return text

    def revoke(self, text: str) -> None:
        """Ends a token and the sessions that came of it."""
        with self._database.writing() as session:
            token = session.scalar(select(Token).where(Token.digest == _digest(text)))
            if token is not None:
                token.revoked = self._clock()

    def by_token(self, text: str) -> Caller | None:
        """Who calls with this token; None when it is unknown, expired or revoked."""
        with self._database.reading() as session:
            found = session.execute(
                select(Token, User).join(User, User.id == Token.user_id).where(Token.digest == _digest(text))
            ).one_or_none()
        return None if found is None else self._caller(found[0], found[1], csrf=None)

    def log_in(self, text: str) -> Login | None:
        """A session for a browser that gave a token; None when the token is none. A worker's is none."""
        caller = self.by_token(text)
        if caller is None or not caller.may("read"):
            return None
        cookie, expires = secrets.token_urlsafe(_BYTES), self._clock() + _SESSION_S
        with self._database.writing() as session:
            session.execute(delete(BrowserSession).where(BrowserSession.expires < self._clock()))
            session.add(
                BrowserSession(
                    digest=_digest(cookie),
                    token_id=caller.token_id,
                    csrf=secrets.token_urlsafe(_BYTES),
                    expires=expires,
                )
            )
        return Login(cookie=cookie, expires=expires)

    def log_in_as(self, name: str, scope: Scope, *, origin: str) -> Login:
        """A session for a browser whose user somebody else vouches for, with a token of its own that nobody
        knows and that ends with it. InputError for a name that no user can have.
        """
        login = self.log_in(self.make(name, scope, lasts_s=_SESSION_S))
        caller = None if login is None else self.by_cookie(login.cookie)
        assert login is not None
        assert caller is not None
        self.note(caller, "log in", scope, origin=origin)
        return login

    def note(self, caller: Caller, what: str, subject: str, *, origin: str) -> None:
        """Adds an entry to the audit log about what is not in the database."""
        with self._database.writing() as session:
            record(session, caller, what, subject, origin=origin)

    def by_cookie(self, cookie: str) -> Caller | None:
        """Who calls with the cookie of a session; None when it is over, or its token is."""
        with self._database.reading() as session:
            found = session.execute(
                select(BrowserSession, Token, User)
                .join(Token, Token.id == BrowserSession.token_id)
                .join(User, User.id == Token.user_id)
                .where(BrowserSession.digest == _digest(cookie))
            ).one_or_none()
        if found is None or found[0].expires < self._clock():
            return None
        return self._caller(found[1], found[2], csrf=found[0].csrf)

    def log_out(self, cookie: str) -> None:
        """Ends a session."""
        with self._database.writing() as session:
            session.execute(delete(BrowserSession).where(BrowserSession.digest == _digest(cookie)))

    def _caller(self, token: Token, user: User, *, csrf: str | None) -> Caller | None:
        expired = token.expires is not None and token.expires < self._clock()
        if expired or token.revoked is not None:
            return None
        scope = cast(Scope, token.scope)
        return Caller(user_id=user.id, name=user.name, scope=scope, token_id=token.id, csrf=csrf)


def _user(session: Session, name: str, now: float) -> User:
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        user = User(name=name, created=now)
        session.add(user)
        session.flush()
    return user


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
