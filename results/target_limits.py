"""Several targets as text: `--target cpu,jetson@user@host`, `--max-latency 2ms` or `--max-latency
cpu=2ms,jetson=1ms`. No torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

from ..errors import InputError
from ..profiles import Drop, TargetAddress, is_built_in, parse_target
from ..profiles.address import is_target_name
from ..profiles.units import parse_drop, parse_duration, parse_energy, parse_size
from .limits import Constraints

T = TypeVar("T")


def target_addresses(text: str) -> dict[str, TargetAddress]:
    """The targets of `T[,T…]` by their names, in the user's order; boards of a kind (`T@host+host`) are one.

    A target has the name of its profile; a TOML file has its name without folder and ending. Remote targets
    with the same name become `name@host`, or `name@host:port` when the host is the same too. InputError
    when one is empty, written wrongly, called by what is no name, or given twice.
    """
    texts = tuple(part.strip() for part in text.split(","))
    if not all(texts):
        raise InputError(
            f"--target {text!r} has an empty name: write it like --target cpu or --target cpu,cpu-2t."
        )
    addresses = [parse_target(part) for part in texts]
    names = _distinct(
        addresses, [address.name for address in addresses], lambda one: f"{one.name}@{one.host}"
    )
    names = _distinct(addresses, names, lambda one: f"{one.name}@{replace(one, user=None).place}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(
            f"--target names {twice!r} twice: give each target once (a TOML file is called by its file name)."
        )
    files = [name for name, one in zip(names, addresses, strict=True) if one.profile.endswith(".toml")]
    if odd := next((name for name in files if not is_target_name(name)), None):
        raise InputError(
            f"--target {text!r}: a target cannot be called {odd!r}: give its TOML file a name of letters, "
            "digits, . _ and - only."
        )
    return dict(zip(names, addresses, strict=True))


def require_no_host(targets: str) -> None:
    """InputError for `jetson@a,b`, where b is no profile: a comma begins another target."""
    for before, text in pairwise(part.strip() for part in targets.split(",")):
        if "@" in before and not ("@" in text or text.endswith(".toml") or is_built_in(text)):
            raise InputError(
                f"--target has {text!r} after a comma, which is no profile: several boards of one kind are "
                f"written with +, like {before}+{text}."
            )


def _distinct(
    addresses: Sequence[TargetAddress], names: Sequence[str], longer: Callable[[TargetAddress], str]
) -> list[str]:
    """The names. Remote targets with the same name get longer ones."""
    pairs = zip(addresses, names, strict=True)
    return [name if one.local or names.count(name) == 1 else longer(one) for one, name in pairs]


def by_target(
    option: str, texts: Sequence[str], parse: Callable[[str], T], *, targets: Sequence[str]
) -> dict[str, T]:
    """The limit of each target that has one. `2ms` holds on every target; `cpu=2ms` holds on one, and
    replaces the general limit there.

    InputError for a name that is not in `targets`, and for two limits of one target.
    """
    everywhere: dict[str, T] = {}
    of_one: dict[str, T] = {}
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, named, quantity = part.rpartition("=")
        if named and name not in targets:
            raise InputError(
                f"{option} {part!r} names the target {name!r}: choose {' or '.join(map(repr, targets))}."
            )
        limits = dict.fromkeys([name] if named else targets, parse(quantity))
        limits_so_far = of_one if named else everywhere
        if limits_so_far.keys() & limits:
            raise InputError(
                f"{option} has two limits for {name!r}."
                if named
                else f"{option} is given twice: give it once."
            )
        limits_so_far |= limits
    return everywhere | of_one


def limits_of(
    targets: Sequence[str],
    *,
    max_drop: str | None,
    max_latency: Sequence[str] | None,
    max_size: Sequence[str] | None,
    max_energy: Sequence[str] | None = None,
) -> dict[str, Constraints]:
    """The limits of each target from texts with units. InputError says what is wrong with one."""
    return constraints_by_target(
        targets,
        max_drop=None if max_drop is None else parse_drop(max_drop),
        max_latency=by_target("--max-latency", max_latency or (), parse_duration, targets=targets),
        max_size=by_target("--max-size", max_size or (), parse_size, targets=targets),
        max_energy=by_target("--max-energy", max_energy or (), parse_energy, targets=targets),
    )


def constraints_by_target(
    targets: Sequence[str],
    *,
    max_drop: Drop | None,
    max_latency: Mapping[str, float],
    max_size: Mapping[str, int],
    max_energy: Mapping[str, float],
) -> dict[str, Constraints]:
    """The limits of each target. The limit on the drop is the same on all."""
    return {
        name: Constraints(
            max_drop=max_drop,
            max_latency_s=max_latency.get(name),
            max_size_bytes=max_size.get(name),
            max_energy_j=max_energy.get(name),
        )
        for name in targets
    }
