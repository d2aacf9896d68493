"""The targets of a search: as they were asked for, as they answered, and ready to measure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..compress.options import FileFormat
from ..errors import InputError, TargetUnavailable
from ..profiles import Environment, Profile, TargetAddress, load_profile
from ..profiles.environment import CIRCUMSTANCES
from ..profiles.sizes import Sizes
from ..results.limits import Constraints
from ..results.records.facts import Prediction, RunTarget
from ..results.target_limits import require_no_host, target_addresses
from ..targets.held_clocks import HeldClocks
from ..targets.here import require_here
from ..targets.pool.boards import Device, boards_at
from ..targets.store import MeasurementStore
from ..targets.target import Target
from .predicted import AnyTarget, LatencyModel, PredictedTarget

if TYPE_CHECKING:
    from .stored_split import StoredSplit

_SHARE_OF_STORE = 0.75  # of a board, for samples: artifacts and engines need room, too
HINT = (
    "`search --allow-predicted` goes on without it, with latencies predicted from its calibrated table "
    "or its data sheet."
)
STAND_IN_QUALITY = "{runtime} on the searching machine ran the same files for quality"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTarget:
    """A target as it was asked for: its profile, called by the target's name, and where it is.

    `sizes` are those of the model's free dimensions that are measured, None where it has none.
    """

    profile: Profile
    address: TargetAddress
    clocks: HeldClocks | None = None
    sizes: Sizes | None = None

    def probe(self) -> "FoundTarget":
        """The target, asked for its environment; one that cannot be used is away."""
        away, environment = "", None
        try:
            if self.address.local:
                require_here(self.profile)
            target = target_at(self.profile, self.address, clocks=self.clocks)
            environment = target.probe()
            target.refuse_emulation()
        except TargetUnavailable as error:
            away, environment = str(error), None
        return FoundTarget(
            profile=self.profile,
            address=self.address,
            clocks=self.clocks,
            sizes=self.sizes,
            environment=environment,
            away=away,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTarget:
    """A target as it answered. One that is away has no environment yet, and `away` says why.

    With a `prediction` nothing is measured on it: its latencies are predicted.
    """

    profile: Profile
    address: TargetAddress
    environment: Environment | None
    clocks: HeldClocks | None = None
    sizes: Sizes | None = None
    away: str = ""
    prediction: LatencyModel | None = None

    @property
    def may_return(self) -> bool:
        """Whether waiting may help when it is away: a board may come back, this machine is as it is."""
        return not self.address.local and self.prediction is None

    def open(
        self,
        store: MeasurementStore | None = None,
        validation: "StoredSplit | None" = None,
        *,
        recognize: Callable[[Environment], None] | None = None,
        patient: bool = True,
    ) -> AnyTarget:
        """The target, ready to measure (or to predict). TargetUnavailable when its environment has changed.

        One that is away now is opened as it is. `recognize` is asked about its environment before anything
        is measured there. A target that is not `patient` does not wait for its board: others go on.
        """
        if self.prediction is not None:
            return PredictedTarget(profile=self.profile, model=self.prediction)
        if validation is not None and not self.address.local:
            self._require_room(validation)
        inputs = validation.inputs if validation else None
        target = target_at(
            self.profile,
            self.address,
            store,
            inputs=inputs,
            sizes=self.sizes,
            recognize=recognize,
            clocks=self.clocks,
        )
        if not patient:
            for board in (
                target.board if isinstance(target, Target) else None,
                self.clocks.board if self.clocks else None,
            ):
                if board is not None:
                    board.patient = False
        elif self.environment is not None and target.probe().fingerprint != self.environment.fingerprint:
            raise TargetUnavailable(
                "The target's environment changed while the task was loaded: run the command again."
            )
        return target

    def _require_room(self, validation: "StoredSplit") -> None:
        """InputError when the samples do not fit into what a board keeps: each candidate would send them all
        again.
        """
        limit_bytes, needed = self.profile.store_limit_bytes, validation.size_bytes
        if needed > _SHARE_OF_STORE * limit_bytes:
            fitting = int(_SHARE_OF_STORE * limit_bytes * validation.samples / needed)
            raise InputError(
                f"The validation split takes {needed / 1e9:.1f} GB, but '{self.profile.name}' keeps "
                f"{limit_bytes / 1e9:.1f} GB of what is sent: give --validation-samples {fitting}, or raise "
                "store_limit_bytes in the target's TOML file."
            )

    def facts(self, constraints: Constraints, *, batch: int) -> RunTarget:
        """What a run tells of it."""
        profile, model = self.profile, self.prediction
        prediction = None
        if model is not None:
            answering = "LiteRT" if profile.facts.container == "tflite" else "ONNX Runtime"
            quality = STAND_IN_QUALITY.format(runtime=answering)
            prediction = Prediction(source=model.source, error=model.error, quality=quality)
        return RunTarget(
            name=profile.name,
            profile_fingerprint=profile.fingerprint,
            threads=profile.threads,
            runtime=profile.runtime,
            runtime_options=dict(profile.runtime_options),
            batch=batch,
            sizes=self.sizes,
            environment=self.environment,
            constraints=constraints,
            prediction=prediction,
        )

    def identity(self) -> Iterator[tuple[str, str]]:
        """Its entries in the identity of run.toml: `cpu profile`, `cpu environment.cores` …

        The environment of one that is away is left out, see RunDirectory.
        """
        name = self.profile.name
        yield f"{name} profile", self.profile.fingerprint
        if self.prediction is not None:
            yield f"{name} latency", "predicted"
        if self.environment is not None:
            yield from environment_identity(self.environment, target=name)


def environment_identity(environment: Environment, *, target: str) -> Iterator[tuple[str, str]]:
    """The entries of run.toml's identity for the environment of a target."""
    for field in fields(Environment):
        if field.name not in CIRCUMSTANCES:
            yield f"{target} environment.{field.name}", str(getattr(environment, field.name))


def load_targets(text: str, *, cluster: str = "") -> tuple[NamedTarget, ...]:
    """The targets of `T[,T…]` in their order, those of `T@ray` on the `cluster` at this address if one is
    given. InputError or ProfileError says what is wrong with one.
    """
    require_no_host(text)
    addresses = target_addresses(text)
    if cluster:
        addresses = {name: replace(address, cluster=cluster) for name, address in addresses.items()}
    return named_targets(addresses)


def named_targets(addresses: Mapping[str, TargetAddress]) -> tuple[NamedTarget, ...]:
    """The targets at these addresses, by what they are called. ProfileError says what is wrong with one."""
    return tuple(
        NamedTarget(profile=replace(load_profile(address.profile), name=name), address=address)
        for name, address in addresses.items()
    )


def require_one(targets: Sequence[FoundTarget]) -> None:
    """Raises TargetUnavailable when all targets are away; the message names the first and the remedy."""
    if all(target.away for target in targets):
        raise _nothing_to_use(targets[0].profile, targets[0].away)


def require_energy(target: NamedTarget) -> None:
    """InputError when the target answers, and no sensor counts energy there that may be read. One that is
    away is not asked: its limits are open.
    """
    name = target.profile.name
    try:
        if target.address.local:
            require_here(target.profile)
        with closing(target_at(target.profile, target.address, clocks=target.clocks)) as asked:
            answer = asked.energy_sensor()
    except TargetUnavailable:
        return
    if not answer["sensor"]:
        remedy = f"run `{answer['remedy']}` there" if answer["remedy"] else "leave it out"
        raise InputError(
            f"--max-energy needs a sensor of energy on the target '{name}': {answer['problem']}. "
            f"To go on, {remedy}."
        )


def require_one_possible(targets: Sequence[NamedTarget]) -> None:
    """Raises TargetUnavailable when each is to be on this machine, which is other hardware. Asks none."""
    reasons = []
    for target in targets:
        try:
            if not target.address.local:
                return
            require_here(target.profile)
        except TargetUnavailable as error:
            reasons.append(str(error))
    if len(reasons) == len(targets):
        raise _nothing_to_use(targets[0].profile, reasons[0])


def _nothing_to_use(profile: Profile, reason: str) -> TargetUnavailable:
    return TargetUnavailable(f"Target '{profile.name}': {reason} {HINT}")


def format_of(profile: Profile) -> FileFormat:
    """What the profile decides about an artifact's file."""
    return FileFormat(
        container=profile.facts.container,
        opset=profile.opset,
        activations=profile.activations,
        int8_weights=profile.int8_weights,
        fused_operators=profile.fused_operators,
    )


def target_at(
    profile: Profile,
    address: TargetAddress,
    store: MeasurementStore | None = None,
    *,
    inputs: Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    sizes: Sizes | None = None,
    recognize: Callable[[Environment], None] | None = None,
    clocks: HeldClocks | None = None,
) -> Device:
    """A target on this machine, on the device behind the address, or on several of them."""
    if address.others:
        return boards_at(
            profile, address, store, inputs=inputs, shapes=shapes, sizes=sizes, recognize=recognize
        )
    return Target(
        profile,
        store,
        inputs=inputs,
        shapes=shapes,
        sizes=sizes,
        recognize=recognize,
        address=address,
        clocks=clocks,
    )
