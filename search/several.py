"""The targets of a search beyond the primary one: profiles, environments, and what they add to run.toml and front.json."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..errors import TargetUnavailable
from ..profiles import Environment, Profile, load_profile
from ..targets.store import MeasurementStore
from ..targets.target import Target
from .constraints import Constraints
from .evaluate import StoredSplit
from .target_limits import target_texts

_CIRCUMSTANCES = frozenset({"load_1m", "clock_mhz"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTarget:
    """A target that can be used now."""

    profile: Profile
    environment: Environment

    @classmethod
    def probe(cls, profile: Profile) -> "FoundTarget":
        """The target, asked for its environment. TargetUnavailable says which target it is."""
        try:
            return cls(profile=profile, environment=Target(profile).probe())
        except TargetUnavailable as error:
            raise TargetUnavailable(f"Target '{profile.name}': {error}") from error

    def open(self, store: MeasurementStore, validation: StoredSplit) -> Target:
        """The target, ready to measure. TargetUnavailable when its environment is not that which was found."""
        target = Target(self.profile, store, inputs=validation.inputs)
        if target.probe().fingerprint != self.environment.fingerprint:
            raise TargetUnavailable("The target's environment changed while the task was loaded: run the command again.")
        return target


def load_targets(text: str) -> tuple[Profile, ...]:
    """The profiles of `T[,T…]`, the primary one first. InputError or ProfileError says what is wrong with one."""
    return tuple(load_profile(part) for part in target_texts(text))


def environment_identity(environment: Environment, *, prefix: str) -> Iterator[tuple[str, str]]:
    """The entries of run.toml's identity for an environment."""
    for item in fields(Environment):
        if item.name not in _CIRCUMSTANCES:
            yield f"{prefix}environment.{item.name}", str(getattr(environment, item.name))


def identity_of(targets: Sequence[FoundTarget]) -> dict[str, str]:
    """What further targets add to the identity in run.toml: `cpu-2t profile`, `cpu-2t environment.cores` …"""
    found: dict[str, str] = {}
    for target in targets:
        name = target.profile.name
        found[f"{name} profile"] = target.profile.fingerprint
        found |= environment_identity(target.environment, prefix=f"{name} ")
    return found


def target_facts(profile: Profile, *, batch: int) -> dict[str, Any]:
    """The facts of a profile in front.json."""
    return {
        "name": profile.name,
        "profile_fingerprint": profile.fingerprint,
        "threads": profile.threads,
        "runtime": profile.runtime,
        "runtime_options": dict(profile.runtime_options),
        "batch": batch,
    }


def targets_facts(
    targets: Sequence[FoundTarget], constraints: Mapping[str, Constraints], *, batch: int, baseline: float
) -> list[dict[str, Any]]:
    """The entry `targets` of front.json, which only runs with several targets have: the primary one first."""
    return [
        {
            **target_facts(target.profile, batch=batch),
            "environment": target.environment.to_json(),
            "constraints": constraints[target.profile.name].to_json(baseline),
        }
        for target in targets
    ]
