"""Caller: who asks, with what a token allows."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["read", "submit", "deploy", "admin", "work"]
SCOPES: tuple[Scope, ...] = ("read", "submit", "deploy", "admin", "work")
_ALLOWS = {
    "read": {"read"},
    "submit": {"read", "submit"},
    "deploy": {"read", "submit", "deploy"},
    "admin": {"read", "submit", "deploy", "admin", "work"},
    "work": {"work"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user by way of a token. `csrf` is what a form of the browser must repeat; None without a browser."""

    user_id: int
    name: str
    scope: Scope
    token_id: int
    csrf: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the token allows what needs this scope. `work` is for workers and reads no runs."""
        return scope in _ALLOWS[self.scope]

    @property
    def sees_all(self) -> bool:
        """Whether it may look at the jobs of others, and change them."""
        return self.scope == "admin"
