"""The targets of a search beyond the primary one: profiles, environments, and what they add to run.toml and front.json."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """A target as it was found. A further one that is away has no environment yet, and `away` says why."""

    profile: Profile
    environment: Environment | None
    away: str = ""

    @classmethod
    def probe(cls, profile: Profile, *, primary: bool = True) -> "FoundTarget":
        """The target, asked for its environment. TargetUnavailable says which target it is; a further one may be away."""
        try:
            return cls(profile=profile, environment=Target(profile).probe())
        except TargetUnavailable as error:
            if primary:
                raise TargetUnavailable(f"Target '{profile.name}': {error}") from error
            return cls(profile=profile, environment=None, away=str(error))

    def open(self, store: MeasurementStore, validation: StoredSplit, *, recognize: Callable[[Environment], None]) -> Target:
        """The target, ready to measure. TargetUnavailable when its environment is not that which was found.

        `recognize` is asked about the environment of a target that was away, before anything is measured on it.
        """
        if self.environment is None:
            return Target(self.profile, store, inputs=validation.inputs, recognize=recognize)
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
    """What further targets add to the identity in run.toml: `cpu-2t profile`, `cpu-2t environment.cores` …

    The environment of one that is away is left out, see RunDirectory.
    """
    found: dict[str, str] = {}
    for target in targets:
        name = target.profile.name
        found[f"{name} profile"] = target.profile.fingerprint
        if target.environment is not None:
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
            "environment": target.environment.to_json() if target.environment else None,
            "constraints": constraints[target.profile.name].to_json(baseline),
        }
        for target in targets
    ]
