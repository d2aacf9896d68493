"""Where a target is: the profile's name, and for a board the address that SSH is given."""

import re
from dataclasses import dataclass

from ..errors import InputError

_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAddress:
    """A profile on this machine (`host` is None), or on another one that the OpenSSH client reaches."""

    profile: str
    user: str | None = None
    host: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        return f"{self.profile}@{user}{self.host}{f':{self.port}' if self.port else ''}" if self.host else self.profile


def parse_target(text: str) -> TargetAddress:
    """The address in `PROFILE[@[USER@]HOST[:PORT]]`. InputError if it is written otherwise."""
    profile, *place = text.split("@")
    if not place:
        return TargetAddress(profile=profile)
    host, _, port = place[-1].partition(":")
    user = place[0] if len(place) == 2 else None
    names = [host] if user is None else [user, host]
    if len(place) > 2 or not profile or not all(map(_NAME.match, names)) or (port and not port.isdecimal()):
        raise InputError(f"The target {text!r} cannot be read: write it like jetson@user@host or jetson@user@host:2222.")
    return TargetAddress(profile=profile, user=user, host=host, port=int(port) if port else None)
