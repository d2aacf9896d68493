"""Which targets `verify` and `pick --finetune` measure on.

A run or bundle may come from anybody. It says what its targets are called, and never where they are: an
address or a TOML file is used only when the user writes it in this command. One of our profiles on this
machine needs neither.
"""

from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..evaluation.targets import NamedTarget, named_targets
from ..profiles import TargetAddress, is_built_in
from ..results.records.run import Run
from ..results.records.verification import AwayTarget
from ..results.run_config import RunConfig
from ..results.target_limits import target_addresses

Addresses = Mapping[str, TargetAddress]


def addresses_of(path: Path, run: Run) -> dict[str, TargetAddress]:
    """The run's targets by name, as run.toml writes them, or as their names say where it does not. Only what
    they are called may be taken from it.
    """
    try:
        written = target_addresses(str(RunConfig.read(path).options.get("target", "")))
    except InputError:
        written = {}
    return {name: written.get(name) or address_in(name) for name in run.facts.target_names}


def address_in(name: str) -> TargetAddress:
    """The address that the name of a target holds: `cpu@host`."""
    profile, _, host = name.partition("@")
    return TargetAddress(profile=profile, host=host or None)


def called(text: str, of_run: Addresses) -> dict[str, TargetAddress]:
    """The targets that the user gives, as the run calls them: by a name that the run has, or by the same
    profile at the same place. InputError says what is wrong with one.
    """
    if text in of_run and ":" in text:  # an IPv6 address in a name has no brackets
        return {text: TargetAddress(profile=text)}
    asked: dict[str, TargetAddress] = {}
    for name, address in target_addresses(text).items():
        same = (key for key, other in of_run.items() if _place(other) == _place(address))
        known = name if name in of_run else str(address)
        name_there = known if known in of_run else next(same, name)
        if name_there in asked:
            raise InputError(f"--target {text!r} names {name_there!r} twice: give each target once.")
        asked[name_there] = address
    return asked


def asked_targets(path: Path, run: Run, text: str | None) -> tuple[list[NamedTarget], list[AwayTarget]]:
    """The targets of `--target`; without it those of the run that can be used, and those that the user has to
    give. InputError or ProfileError says what is wrong with one, or that there is none.
    """
    of_run = addresses_of(path, run)
    if text is not None:
        asked = called(text, of_run)
        for name in of_run.keys() & asked.keys():
            if not (is_built_in(asked[name].profile) or asked[name].profile.endswith(".toml")):
                raise InputError(_needed(name, of_run[name]))
        return list(named_targets(asked)), []
    measured = {name: of_run[name] for name in run.target_names}
    usable = {name: one for name, one in measured.items() if is_here(one)}
    needed = {name: _needed(name, one) for name, one in measured.items() if name not in usable}
    if not usable:
        raise InputError(" ".join(needed.values()))
    away = [AwayTarget(name=name, address="", reason=reason) for name, reason in needed.items()]
    return list(named_targets(usable)), away


def all_targets(path: Path, run: Run, given: Addresses) -> str:
    """All targets of the run as `--target` of a search writes them, at the addresses that the user gives.
    InputError for one that the user has to give.
    """
    addresses = addresses_of(path, run)
    for name, stated in addresses.items():
        address = given.get(name)
        if address is not None and (stated.local or not address.local):
            addresses[name] = address
        elif not is_here(stated):
            raise InputError(_needed(name, stated))
    return ",".join(map(str, addresses.values()))


def is_here(address: TargetAddress) -> bool:
    """Whether it is one of our profiles, on this machine."""
    return address.local and is_built_in(address.profile)


def _needed(name: str, stated: TargetAddress) -> str:
    """That the user has to give the target, and how."""
    file = stated.profile.endswith(".toml") or not is_built_in(stated.profile)
    profile = f"path/{stated.name}.toml" if file else stated.name
    if stated.on_cluster:
        return (
            f"Target '{name}' is on a Ray cluster, which is connected to only if you give it: --target "
            f"{profile}@ray, on a machine of that cluster."
        )
    if stated.local:
        return f"Target '{name}' is none of ours: its TOML file is read if you give it: --target {profile}."
    return (
        f"Target '{name}' is on another machine, whose address is used only if you give it: "
        f"--target {profile}@user@host."
    )


def _place(address: TargetAddress) -> tuple[str, frozenset[tuple[str | None, int | None]]]:
    return address.name, frozenset((board.host, board.port) for board in address.boards)
