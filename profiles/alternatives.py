"""Runtimes of one device: profiles that say with `same_device_as` that they are the same hardware."""

import importlib.util
from collections.abc import Iterable, Mapping

from ..errors import InputError
from .address import TargetAddress, parse_target
from .profile_file import ALIASES, load_profile, profile_names
from .runtimes import runtime_facts, runtime_folders

ALL = "all"


def alternatives_of(name: str) -> dict[str, str]:
    """By runtime, the profiles of the device that the profile called `name` (or in that TOML file) is for;
    itself for its own runtime. ProfileError when there is no such profile.
    """
    asked = load_profile(name)
    device = asked.same_device_as or ALIASES.get(name, name)
    others = {other: load_profile(other) for other in profile_names()}
    same = {one.runtime: other for other, one in others.items() if device in (other, one.same_device_as)}
    profiles = {**same, asked.runtime: name}
    return {runtime: profiles[runtime] for runtime in runtime_folders() if runtime in profiles}


def targets_of_runtimes(target: str, runtimes: str) -> str:
    """What `--target T --runtimes R[,R…]` means, as the targets of a search: `cpu,cpu-litert`, in the order
    of our list of runtimes.

    `all` are those that this machine has (on a board, those that its profiles name). InputError says which
    runtime is unknown, not installed or given twice, or that the target has one only.
    """
    if "," in target:
        raise InputError(
            f"--runtimes are those of one device, but --target {target!r} names several targets: give one of "
            "them, or leave out --runtimes."
        )
    address = parse_target(target)
    if address.others:
        raise InputError(
            f"--runtimes are those of one device, but --target {target!r} names several boards: give one of "
            "them, or leave out --runtimes."
        )
    profiles = alternatives_of(address.profile)
    if len(profiles) < 2:
        raise InputError(
            f"Target {target!r} has no other runtime than {load_profile(address.profile).runtime}: leave out "
            "--runtimes, or give several targets (--target A,B)."
        )
    place = target.removeprefix(address.profile)
    asked = _asked(runtimes, profiles, target)
    if address.local:
        asked = _installed(asked, every=runtimes == ALL)
    return ",".join(profiles[runtime] + place for runtime in profiles if runtime in asked)


def runtimes_text(address: TargetAddress) -> str:
    """`Runtimes for search --runtimes: onnxruntime, openvino, litert (not installed: pip install …).` of the
    device; empty of one with a single runtime.
    """
    profiles = alternatives_of(address.profile)
    if len(profiles) < 2:
        return ""
    here = _found(profiles) if address.local else [*profiles]
    parts = [
        runtime if runtime in here else f"{runtime} (not installed: {runtime_facts(runtime).pip})"
        for runtime in profiles
    ]
    return f"Runtimes for search --runtimes: {', '.join(parts)}."


def _found(names: Iterable[str]) -> list[str]:
    """Those that this Python has."""
    return [name for name in names if importlib.util.find_spec(runtime_facts(name).module) is not None]


def _asked(text: str, profiles: Mapping[str, str], target: str) -> list[str]:
    names = [*profiles] if text == ALL else [part.strip() for part in text.split(",")]
    for name in names:
        if name not in profiles:
            raise InputError(
                f"--runtimes names {name!r}, which is no runtime of {target!r}: choose "
                f"{', '.join(profiles)}, or {ALL}."
            )
        if names.count(name) > 1:
            raise InputError(f"--runtimes names {name!r} twice: give each runtime once.")
    return names


def _installed(names: list[str], *, every: bool) -> list[str]:
    """Those that are installed here, where `every` one was asked for; InputError for one that was named."""
    here = _found(names)
    if (every and here) or len(here) == len(names):
        return here
    facts = runtime_facts(next(name for name in names if name not in here))
    raise InputError(
        f"{facts.title} is not installed here: {facts.pip}, or leave {facts.name} out of --runtimes."
    )
