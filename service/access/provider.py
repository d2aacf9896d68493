"""The OpenID provider that serve.toml names: who logs in there may log in here."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ...nightly.strict_table import StrictTable
from ...results.records.reading import Fields, Unfit
from ..listed import variable
from .caller import SCOPES, Scope

_KEYS = ("issuer", "client_id", "client_secret", "address", "user", "scope", "groups")
_FOR_PEOPLE = tuple(scope for scope in SCOPES if scope != "work")  # from the weakest


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """`secret` is the environment variable with the client's secret, None for a public client; `address` that
    of this service as browsers see it, None: as they ask for it. `user` is the claim that is the name of the
    user here. `groups` gives scopes by the provider's groups; without any, everybody has `scope`.
    """

    issuer: str
    client_id: str
    secret: str | None = None
    address: str | None = None
    user: str = "email"
    scope: Scope = "submit"
    groups: Mapping[str, Scope] = field(default_factory=dict)

    def scope_of(self, groups: object) -> Scope | None:
        """What a user of these groups may do, the most of them all; None: nothing."""
        if not self.groups:
            return self.scope
        names = groups if isinstance(groups, list) else [groups]
        theirs = [self.groups[name] for name in names if isinstance(name, str) and name in self.groups]
        return max(theirs, key=_FOR_PEOPLE.index, default=None)


def read_provider(top: StrictTable) -> ProviderConfig | None:
    """The table `oidc`, if there is one. Unfit for what is wrong."""
    if not top.has("oidc"):
        return None
    table = StrictTable(top.fields.value("oidc"), "oidc", _KEYS)
    if table.has("scope") and table.has("groups"):
        raise Unfit("oidc has scope and groups: with groups, those of no group may nothing; leave one out")
    address = table.get("address", lambda key: _secure(table, key), None)
    return ProviderConfig(
        issuer=_secure(table, "issuer"),
        client_id=table.fields.text("client_id"),
        secret=table.get("client_secret", lambda key: variable(table, key, "oidc"), None),
        address=None if address is None else address.rstrip("/"),
        user=table.get("user", table.fields.text, "email"),
        scope=table.get("scope", lambda key: _scope(table.fields, key), "submit"),
        groups=table.fields.each("groups", _scope) if table.has("groups") else {},
    )


def _scope(fields: Fields, key: str) -> Scope:
    value = fields.text(key)
    for scope in _FOR_PEOPLE:
        if value == scope:
            return scope
    raise Unfit(f"{fields.at(key)} is {value!r}: choose {', '.join(_FOR_PEOPLE)}")


def _secure(table: StrictTable, key: str) -> str:
    address = table.fields.text(key)
    if not is_secure(address):
        raise Unfit(f"{table.fields.at(key)} is {address!r}: write an address with https://")
    return address


def is_secure(address: str) -> bool:
    """Whether nobody between can read or change what goes to an address: TLS, or this machine itself."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.username or not host or not address.isascii():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_here(host))


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
