"""The search space of several targets: one compression serves all, so that only what is legal on every one
may be chosen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from ...compress.recipe import Precision
from ...profiles import Profile
from .space import SearchSpace

if TYPE_CHECKING:
    from ...compress.graph.network import Network

T = TypeVar("T")
_OfFlags = Callable[[Sequence[bool]], bool]


class _OfLists(Protocol):
    """Makes one list of those of all targets."""

    def __call__(self, lists: Sequence[tuple[T, ...]]) -> tuple[T, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledOut:
    """What one target takes away from the space that the others would allow, as sentences."""

    target: str
    reasons: tuple[str, ...]


def space_of(network: "Network", profiles: Sequence[Profile], *, recovery: bool = True) -> SearchSpace:
    """The space that all targets allow; what one of them excludes has that one's reason."""
    if len(profiles) == 1:
        return SearchSpace.of(network, profiles[0], recovery=recovery)
    common = SearchSpace.of(network, common_profile(profiles), recovery=recovery)
    reasons: dict[str, str] = {}
    for profile in profiles:
        for exclusion in SearchSpace.of(network, profile).excluded:
            reasons.setdefault(exclusion.name, exclusion.reason)
    excluded = tuple(replace(each, reason=reasons.get(each.name, each.reason)) for each in common.excluded)
    return replace(common, excluded=excluded)


def common_profile(profiles: Sequence[Profile]) -> Profile:
    """What all targets can do, as a profile of no hardware: only its legal precisions and channel counts mean
    anything.
    """
    return _joined(profiles, lists=_common, flags=all)


def widest_profile(profiles: Sequence[Profile]) -> Profile:
    """What any target can do, likewise."""
    return _joined(profiles, lists=_any, flags=any)


def _joined(profiles: Sequence[Profile], *, lists: _OfLists, flags: _OfFlags) -> Profile:
    return replace(
        profiles[0],
        name=", ".join(profile.name for profile in profiles),
        precisions=lists([profile.precisions for profile in profiles]),
        int8_operators=lists([profile.int8_operators for profile in profiles]),
        float16_operators=lists([profile.float16_operators for profile in profiles]),
        fp8_operators=lists([profile.fp8_operators for profile in profiles]),
        nm_sparsity=flags([profile.nm_sparsity for profile in profiles]),
        storage_bits=lists([profile.storage_bits for profile in profiles]),
        float_storage_bits=lists([profile.float_storage_bits for profile in profiles]),
        dynamic_int8=flags([profile.dynamic_int8 for profile in profiles]),
        block4=flags([profile.block4 for profile in profiles]),
        fused_operators=any(
            profile.fused_operators for profile in profiles
        ),  # the others' files stay as they are
        channel_multiple=math.lcm(*(profile.channel_multiple for profile in profiles)),
    )


def ruled_out_by(network: "Network", profiles: Sequence[Profile]) -> list[RuledOut]:
    """By target, what it takes away from what the other targets have in common; targets that take nothing are
    left out.
    """
    if len(profiles) < 2:
        return []
    rules = []
    for profile in profiles:
        others = space_of(network, [other for other in profiles if other is not profile])
        if reasons := _differences(SearchSpace.of(network, profile), others, profile):
            rules.append(RuledOut(target=profile.name, reasons=tuple(reasons)))
    return rules


def _differences(alone: SearchSpace, others: SearchSpace, profile: Profile) -> list[str]:
    missing: dict[tuple[str, ...], list[str]] = {}
    for precision in sorted(set[Precision]().union(*others.precisions.values()) - {"float32"}):
        layers = [name for name, choices in others.precisions.items() if precision in choices]
        if lost := tuple(name for name in layers if precision not in alone.precisions.get(name, ())):
            missing.setdefault(lost, []).append(precision)
    lines = [f"{', '.join(precisions)} for {_layers(names)}" for names, precisions in missing.items()]
    if counts := sum(_lost(alone, others).values()):
        lines.append(f"{counts} channel counts that are no multiples of {profile.channel_multiple}")
    return lines


def _lost(alone: SearchSpace, others: SearchSpace) -> Mapping[str, int]:
    """By group, how many keep levels of the others the target does not have."""
    levels = {group.name: set(group.levels) for group in alone.groups}
    return {
        group.name: len(set(group.levels) - levels.get(group.name, {group.channels}))
        for group in others.groups
    }


def _layers(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} layers"


def _common(lists: Sequence[tuple[T, ...]]) -> tuple[T, ...]:
    """What all lists hold, in the order of the first."""
    return tuple(choice for choice in lists[0] if all(choice in other for other in lists[1:]))


def _any(lists: Sequence[tuple[T, ...]]) -> tuple[T, ...]:
    """What any list holds, in the order of the first that has it."""
    return tuple(dict.fromkeys(choice for one in lists for choice in one))
