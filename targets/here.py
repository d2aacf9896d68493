"""Whether this machine is the hardware of a profile: a board's profile without an address means the machine
it runs on.
"""

import platform
from pathlib import Path

from ..errors import TargetUnavailable
from ..profiles.profile import Profile

_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}
_MODEL = Path("/proc/device-tree/model")


def require_here(profile: Profile) -> None:
    """TargetUnavailable when this machine has another processor than the profile's device, or is another
    product.
    """
    machine = platform.machine().lower()
    architecture = _ALIASES.get(machine, machine)
    place = f"give its address, like {profile.name}@user@host"
    if profile.architecture is not None and profile.architecture != architecture:
        raise TargetUnavailable(
            f"The target needs {profile.architecture}, but this machine is {architecture}: {place}."
        )
    if profile.device is not None and profile.device not in (
        _MODEL.read_text(errors="replace") if _MODEL.is_file() else ""
    ):
        raise TargetUnavailable(
            f"The target is a board called {profile.device!r}, which this machine is not: {place}."
        )
