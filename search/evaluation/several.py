"""The targets of a search beyond the primary one: profiles, environments, and what they add to run.toml and
front.json.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ...errors import TargetUnavailable
from ...profiles import Environment, Profile, TargetAddress, load_profile
from ...profiles.environment import CIRCUMSTANCES
from ...results.limits import Constraints
from ...results.target_limits import target_addresses
from ...targets.held_clocks import HeldClocks
from ...targets.here import require_here
from ...targets.store import MeasurementStore
from ...targets.target import Target
from .availability import Patience
from .evaluate import StoredSplit
from .predicted import AnyTarget, LatencyModel, PredictedTarget

HINT = "`search --allow-predicted` goes on without it, with latencies predicted from its calibrated table or its data sheet."


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTarget:
    """A target as it was asked for: its profile, called by the target's name, and where it is."""

    profile: Profile
    address: TargetAddress
    clocks: HeldClocks | None = None

    def probe(self, *, needed: bool = True, may_predict: bool = False) -> "FoundTarget":
        """The target, asked for its environment. TargetUnavailable says which target it is.

        One that is not needed may be away, and so may any that may be predicted.
        """
        try:
            if self.address.local:
                require_here(self.profile)
            target = target_at(self.profile, self.address, clocks=self.clocks)
            environment = target.probe()
            target.refuse_emulation()
        except TargetUnavailable as error:
            if needed and not may_predict:
                raise TargetUnavailable(f"Target '{self.profile.name}': {error} {HINT}") from error
            return FoundTarget(
                profile=self.profile,
                address=self.address,
                clocks=self.clocks,
                environment=None,
                away=str(error),
            )
        return FoundTarget(
            profile=self.profile, address=self.address, clocks=self.clocks, environment=environment
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTarget:
    """A target as it was found. A further one that is away has no environment yet, and `away` says why.

    With a `prediction` nothing is measured on it: its latencies are predicted.
    """

    profile: Profile
    address: TargetAddress
    environment: Environment | None
    clocks: HeldClocks | None = None
    away: str = ""
    prediction: LatencyModel | None = None

    @property
    def patience(self) -> Patience:
        """How long to wait for it when it is away: a board may come back, this machine is as it is."""
        return Patience(limit_s=0.0 if self.address.local or self.prediction is not None else None)

    def open(
        self,
        store: MeasurementStore | None = None,
        validation: StoredSplit | None = None,
        *,
        recognize: Callable[[Environment], None] | None = None,
    ) -> AnyTarget:
        """The target, ready to measure (or to predict). TargetUnavailable when its environment is not that
        which was found.

        A further target comes with `recognize`, which is asked about its environment before anything is
        measured there. It may be away now or later, and is not waited for.
        """
        if self.prediction is not None:
            return PredictedTarget(profile=self.profile, model=self.prediction)
        inputs = validation.inputs if validation else None
        target = target_at(
            self.profile, self.address, store, inputs=inputs, recognize=recognize, clocks=self.clocks
        )
        if recognize is not None:
            for board in (target.board, self.clocks.board if self.clocks else None):
                if board is not None:
                    board.patient = False
            return target
        assert self.environment is not None
        if target.probe().fingerprint != self.environment.fingerprint:
            raise TargetUnavailable(
                "The target's environment changed while the task was loaded: run the command again."
            )
        return target


def load_targets(text: str) -> tuple[NamedTarget, ...]:
    """The targets of `T[,T…]`, the primary one first. InputError or ProfileError says what is wrong with one."""
    return named_targets(target_addresses(text))


def named_targets(addresses: Mapping[str, TargetAddress]) -> tuple[NamedTarget, ...]:
    """The targets at these addresses, by what they are called. ProfileError says what is wrong with one."""
    return tuple(
        NamedTarget(profile=replace(load_profile(address.profile), name=name), address=address)
        for name, address in addresses.items()
    )


def target_at(
    profile: Profile,
    address: TargetAddress,
    store: MeasurementStore | None = None,
    *,
    inputs: Path | None = None,
    recognize: Callable[[Environment], None] | None = None,
    clocks: HeldClocks | None = None,
) -> Target:
    """A target on this machine, or on the device behind the address."""
    return Target(profile, store, inputs=inputs, recognize=recognize, address=address, clocks=clocks)


def environment_identity(environment: Environment, *, prefix: str) -> Iterator[tuple[str, str]]:
    """The entries of run.toml's identity for an environment."""
    for item in fields(Environment):
        if item.name not in CIRCUMSTANCES:
            yield f"{prefix}environment.{item.name}", str(getattr(environment, item.name))


def identity_of(targets: Sequence[FoundTarget]) -> dict[str, str]:
    """What further targets add to the identity in run.toml: `cpu-2t profile`, `cpu-2t environment.cores` …

    The environment of one that is away is left out, see RunDirectory.
    """
    found: dict[str, str] = {}
    for target in targets:
        name = target.profile.name
        found[f"{name} profile"] = target.profile.fingerprint
        found |= predicted_identity(target, prefix=f"{name} ")
        if target.environment is not None:
            found |= environment_identity(target.environment, prefix=f"{name} ")
    return found


def predicted_identity(target: FoundTarget, *, prefix: str) -> dict[str, str]:
    """What keeps a run with predicted latencies apart from one with measured ones."""
    return {f"{prefix}latency": "predicted"} if target.prediction else {}


def target_facts(target: FoundTarget, *, batch: int) -> dict[str, Any]:
    """The facts of a target in front.json; `predicted` where its latencies are, and by what."""
    profile, model = target.profile, target.prediction
    predicted: dict[str, Any] = {}
    if model is not None:
        stand_in = "ONNX Runtime on the searching machine ran the same files for quality"
        predicted = {"predicted": {"source": model.source, "error": model.error, "quality": stand_in}}
    return {
        "name": profile.name,
        "profile_fingerprint": profile.fingerprint,
        "threads": profile.threads,
        "runtime": profile.runtime,
        "runtime_options": dict(profile.runtime_options),
        "batch": batch,
        **predicted,
    }


def targets_facts(
    targets: Sequence[FoundTarget], constraints: Mapping[str, Constraints], *, batch: int, baseline: float
) -> list[dict[str, Any]]:
    """The entry `targets` of front.json, which only runs with several targets have: the primary one first."""
    return [
        {
            **target_facts(target, batch=batch),
            "environment": target.environment.to_json() if target.environment else None,
            "constraints": constraints[target.profile.name].to_json(baseline),
        }
        for target in targets
    ]
