"""What serve.toml lists by name besides tasks: webhooks, whom apprise tells, registries, nightly files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..deploy.registry.address import parse_registry
from ..nightly.strict_table import StrictTable
from ..results.records.reading import Fields, Unfit

EVENTS: tuple[str, ...] = (
    "submitted",
    "started",
    "finished",
    "failed",
    "paused",
    "cancelled",
    "deployed",
    "night",
)
ENDS: tuple[str, ...] = ("finished", "failed", "deployed", "night")
NOTIFY = "notify"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_VARIABLE = re.compile(r"env:([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A webhook: `secret` is the environment variable with the key of its signatures."""

    name: str
    url: str
    secret: str
    events: tuple[str, ...] = ENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyBy:
    """Who is told by apprise: `addresses` is the environment variable with the addresses."""

    addresses: str
    events: tuple[str, ...] = ENDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """By name: webhooks, addresses of registries, files of nightly runs."""

    hooks: Mapping[str, Hook] = field(default_factory=dict)
    notify: NotifyBy | None = None
    registries: Mapping[str, str] = field(default_factory=dict)
    nightly: Mapping[str, Path] = field(default_factory=dict)

    @property
    def events(self) -> Mapping[str, tuple[str, ...]]:
        """What each wants to be told of, by its name."""
        wanted = {name: hook.events for name, hook in self.hooks.items()}
        return wanted if self.notify is None else {**wanted, NOTIFY: self.notify.events}


def read_listed(top: StrictTable, folder: Path) -> Listed:
    """What the file lists; paths start from `folder`. Unfit or InputError for what is wrong."""
    fields = top.fields
    return Listed(
        hooks=fields.each("webhook", _hook) if top.has("webhook") else {},
        notify=_notify(StrictTable(fields.value("notify"), "notify", ("addresses", "events")))
        if top.has("notify")
        else None,
        registries=fields.each("registry", _registry) if top.has("registry") else {},
        nightly=fields.each("nightly", lambda tables, name: _nightly(tables, name, folder))
        if top.has("nightly")
        else {},
    )


def _hook(tables: Fields, name: str) -> Hook:
    table = _named(tables, name, ("url", "secret", "events"))
    url = table.fields.text("url")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or not url.isascii():
        raise Unfit(f"{tables.at(name)}.url is no address: write it like https://ci.example/hook")
    if name == NOTIFY:
        raise Unfit(f"a webhook cannot be called {NOTIFY!r}")
    secret = variable(table, "secret", tables.at(name))
    return Hook(name=name, url=url, secret=secret, events=_events(table))


def _notify(table: StrictTable) -> NotifyBy:
    return NotifyBy(addresses=variable(table, "addresses", "notify"), events=_events(table))


def _registry(tables: Fields, name: str) -> str:
    address = _named(tables, name, ("address",)).fields.text("address")
    parse_registry(address)
    return address


def _nightly(tables: Fields, name: str, folder: Path) -> Path:
    return (folder / _named(tables, name, ("file",)).fields.text("file")).resolve()


def _named(tables: Fields, name: str, keys: tuple[str, ...]) -> StrictTable:
    if not _NAME.fullmatch(name):
        raise Unfit(f"{tables.at(name)} is no name: use letters, digits, _ and -")
    return StrictTable(tables.value(name), tables.at(name), keys)


def _events(table: StrictTable) -> tuple[str, ...]:
    events = table.get("events", table.texts, ENDS)
    if wrong := next((one for one in events if one not in EVENTS), None):
        raise Unfit(f"{table.fields.at('events')} has {wrong!r}: choose {', '.join(EVENTS)}")
    return events


def variable(table: StrictTable, key: str, place: str) -> str:
    """The environment variable that a key names. Unfit for a secret in the clear."""
    match = _VARIABLE.fullmatch(table.fields.text(key))
    if match is None:
        raise Unfit(f'{place}.{key} must not be here in the clear: write "env:NAME" of a variable with it')
    return match[1]
