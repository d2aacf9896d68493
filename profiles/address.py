"""Target addresses: `NAME`, `NAME@host`, `NAME@user@host` or `NAME@user@host:port`; NAME is a profile's name
or TOML file. Several boards of one kind: `NAME@user@host+user@host:port`. `NAME@ray` is the node of a Ray
cluster that has the resource `target:NAME`.
"""

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from pathlib import Path

from ..errors import InputError

_ADDRESS = re.compile(r"(?P<profile>.+?\.toml|[^@]*)(?:@(?P<places>.*))?", re.DOTALL)
_PLACE = re.compile(r"(?:(?P<user>[^@]*)@)?(?P<host>[^@]*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TARGET_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}(@[A-Za-z0-9._:%\[\]-]{1,150})?")
NODE_RESOURCE = "target:"  # and a target's name: the resource of the Ray node that it is measured on
_CLUSTER = "ray"  # in the place of a host; a host that is called so is written ray:22 or user@ray
_FORM = "write it like jetson@user@host or jetson@user@host:22"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAddress:
    """A profile, and where the device is: this machine without a `host`.

    `host` is a name, as in the user's SSH configuration, or an address (IPv6 without its brackets). Without
    `user` and `port` SSH's own settings decide. `others` are further boards of the same kind: it is measured
    on whichever is free. `cluster` is the address of the Ray cluster that a node is part of; empty: the one
    of this machine.
    """

    profile: str
    user: str | None = None
    host: str | None = None
    port: int | None = None
    others: tuple["TargetAddress", ...] = ()
    cluster: str = ""

    @property
    def on_cluster(self) -> bool:
        """Whether it is a node of a Ray cluster."""
        return self.host == _CLUSTER and self.user is None and self.port is None

    @property
    def resource(self) -> str:
        """The resource of a Ray cluster that its node has."""
        return NODE_RESOURCE + self.name

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        return self.host is None

    @property
    def name(self) -> str:
        """What the target is called: the profile as it was given, a TOML file without folder and ending."""
        return Path(self.profile).stem if self.profile.endswith(".toml") else self.profile

    @property
    def boards(self) -> tuple["TargetAddress", ...]:
        """Each of its boards as a target of its own, in the user's order; itself without `others`."""
        others = (replace(other, profile=self.profile) for other in self.others)
        return replace(self, others=()), *others

    @property
    def place(self) -> str:
        """`user@host:port`, of several boards with `+` between them, or `this machine`."""
        if self.host is None:
            return "this machine"
        if self.others:
            return "+".join(board.place for board in self.boards)
        user = "" if self.user is None else f"{self.user}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return user + host + port

    def __str__(self) -> str:
        """The address as `parse_target` reads it."""
        return self.profile if self.local else f"{self.profile}@{self.place}"


def is_target_name(text: str) -> bool:
    """Whether a target can be called so: letters, digits, `.`, `_` and `-`; for one of several boards, `@`
    and its host follow.
    """
    return bool(_TARGET_NAME.fullmatch(text)) and text not in (".", "..")


def folder_name(target: str) -> str:
    """What the folder of a target is called: what only an address has (`:`, brackets) becomes `+`."""
    return re.sub(r"[^A-Za-z0-9._@-]", "+", target)


def parse_target(text: str) -> TargetAddress:
    """The address that `text` writes. InputError says which part is wrong; whether the profile exists is not
    looked at.
    """
    match = _ADDRESS.fullmatch(text.strip())
    assert match is not None  # every text is a name, and what follows its first @
    profile, places = match["profile"], match["places"]
    if not profile:
        raise InputError(f"The target {text!r} names no profile before the @: {_FORM}.")
    if places is None:
        return TargetAddress(profile=profile)
    first, *others = (_board(text, profile, place.strip()) for place in places.split("+"))
    devices = [(board.host, board.port) for board in (first, *others)]
    if twice := next((board for board in others if devices.count((board.host, board.port)) > 1), None):
        raise InputError(f"The target {text!r} names the board {twice.place} twice: give each board once.")
    if others and any(board.on_cluster for board in (first, *others)):
        raise InputError(f"The target {text!r} has a node of a Ray cluster among its boards: name it apart.")
    return replace(first, others=tuple(others))


def _board(text: str, profile: str, place: str) -> TargetAddress:
    """The address of one board."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise InputError(f"The target {text!r} has too many @: {_FORM}.")
    user = match["user"]
    if user is not None and not _NAME.fullmatch(user):
        raise InputError(f"The target {text!r} has the user {user!r}, which is no user's name: {_FORM}.")
    host, port = _host_and_port(text, match["host"])
    return TargetAddress(profile=profile, user=user, host=host, port=port)


def _host_and_port(text: str, place: str) -> tuple[str, int | None]:
    """A host and its port, None when none is given. A host that starts with `-` would be an option of ssh."""
    if place.startswith("["):
        host, closed, rest = place[1:].partition("]")
        if not closed or not _is_ipv6(host):
            raise InputError(
                f"The target {text!r} has no IPv6 address in its brackets: write it like "
                "jetson@user@[fe80::1]:22."
            )
    else:
        if place.count(":") > 1:
            raise InputError(
                f"The target {text!r} has an IPv6 address: put it in brackets, like jetson@user@[fe80::1]."
            )
        host, colon, port = place.partition(":")
        rest = colon + port
        if not _NAME.fullmatch(host):
            what = f"the host {host!r}, which is no host's name" if host else "no host"
            raise InputError(f"The target {text!r} has {what}: {_FORM}.")
    if not rest:
        return host, None
    number = rest.removeprefix(":")
    if not (rest.startswith(":") and number.isascii() and number.isdecimal() and 1 <= int(number) <= 65535):
        raise InputError(
            f"The target {text!r} has the port {number!r}: give a number from 1 to 65535, or none."
        )
    return host, int(number)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
