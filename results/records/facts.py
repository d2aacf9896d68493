"""What does not change while a search runs: the task, the targets, the layers and groups of the model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from ...profiles import Environment
from ...profiles.runtimes import Container, container_of
from ...profiles.sizes import Place, Sizes
from ...profiles.units import parse_drop
from ...text.secrets import stored_arguments, stored_command
from ..limits import Constraints
from .reading import Fields, Unfit

Direction = Literal["higher", "lower"]
Unit = Literal["fraction", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFacts:
    """The name of the metric, which direction is better, and whether it is a fraction."""

    name: str
    direction: Direction
    unit: Unit

    def drop(self, value: float, *, baseline: float) -> float:
        """How much worse `value` is than `baseline`, in the metric's own unit; negative means better."""
        return baseline - value if self.direction == "higher" else value - baseline

    def to_json(self) -> dict[str, Any]:
        """A JSON value whose keys are the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "MetricFacts":
        """The metric that `to_json` described."""
        return fields.record(
            lambda: cls(
                name=fields.text("name"),
                direction=fields.choice("direction", get_args(Direction)),
                unit=fields.choice("unit", get_args(Unit)),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    """What a run says of its task: how it is loaded again, and what identifies it.

    `outputs` says what each output means, in words; empty in runs before that was known. `arguments` hold no
    secret. `validation_samples` is the number that was asked for, None for all.
    """

    name: str
    metric: MetricFacts
    spec: str
    arguments: Mapping[str, str]
    digest: str
    preprocessing: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    validation_samples: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", stored_arguments(self.arguments))

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        value = asdict(self)
        if self.validation_samples is None:  # as earlier versions wrote it
            del value["validation_samples"]
        return value

    @classmethod
    def from_json(cls, fields: Fields) -> "TaskFacts":
        """The task that `to_json` described."""
        return fields.record(
            lambda: cls(
                name=fields.text("name"),
                metric=MetricFacts.from_json(fields.object("metric")),
                spec=fields.text("spec"),
                arguments=fields.each("arguments", lambda entries, name: entries.text(name)),
                digest=fields.text("digest"),
                preprocessing=fields.each("preprocessing", lambda entries, name: entries.value(name)),
                notes=fields.texts("notes"),
                outputs=fields.texts("outputs") if fields.has("outputs") else (),
                validation_samples=fields.optional("validation_samples", fields.whole),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """How a target's latencies were predicted: by what, its error, and where quality was measured."""

    source: str
    error: float | None
    quality: str

    @classmethod
    def from_json(cls, fields: Fields) -> "Prediction":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                source=fields.text("source"),
                error=fields.maybe("error", fields.amount),
                quality=fields.text("quality"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTarget:
    """One target of a run. `environment` is None while it was away from the start.

    With a `prediction` nothing was measured on it. `sizes` are those of the inputs' free dimensions, None
    where there are none.
    """

    name: str
    profile_fingerprint: str
    threads: int
    runtime: str
    runtime_options: Mapping[str, str]
    batch: int
    sizes: Sizes | None = None
    environment: Environment | None = None
    constraints: Constraints = field(default_factory=Constraints)
    prediction: Prediction | None = None

    @property
    def container(self) -> Container:
        """The kind of file that its runtime reads."""
        return container_of(self.runtime)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return {
            "name": self.name,
            "profile_fingerprint": self.profile_fingerprint,
            "threads": self.threads,
            "runtime": self.runtime,
            "runtime_options": dict(self.runtime_options),
            "batch": self.batch,
            **({"sizes": self.sizes.to_json()} if self.sizes else {}),
            "environment": self.environment.to_json() if self.environment else None,
            "constraints": constraints_json(self.constraints),
            "prediction": asdict(self.prediction) if self.prediction else None,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "RunTarget":
        """The target that `to_json` described."""
        return fields.record(
            lambda: cls(
                name=fields.target("name"),
                profile_fingerprint=fields.text("profile_fingerprint"),
                threads=fields.whole("threads", least=1),
                runtime=fields.text("runtime"),
                runtime_options=fields.each("runtime_options", lambda entries, name: entries.text(name)),
                batch=fields.whole("batch", least=1),
                sizes=sizes_from(fields.object("sizes")) if fields.has("sizes") else None,
                environment=fields.maybe("environment", lambda key: environment_from(fields.object(key))),
                constraints=constraints_from(fields.object("constraints")),
                prediction=fields.maybe("prediction", lambda key: Prediction.from_json(fields.object(key))),
            )
        )

    @property
    def inference(self) -> str:
        """What goes into one inference, in words: `batch 1, tokens=128`."""
        return f"batch {self.batch}" + (f", {self.sizes.text}" if self.sizes else "")


def sizes_from(fields: Fields) -> Sizes:
    """The sizes that `Sizes.to_json` described."""
    places = [_place(place) for place in fields.objects("places")]
    return fields.record(lambda: Sizes(text=fields.text("text"), places=tuple(places)))


def _place(fields: Fields) -> Place:
    return fields.record(lambda: (fields.whole("input"), fields.whole("dim", least=1), fields.text("name")))


def constraints_json(constraints: Constraints) -> dict[str, Any]:
    """The limits as the user gave them, a JSON value."""
    return {
        "max_drop": None if constraints.max_drop is None else str(constraints.max_drop),
        "max_latency_s": constraints.max_latency_s,
        "max_size_bytes": constraints.max_size_bytes,
        **({} if constraints.max_energy_j is None else {"max_energy_j": constraints.max_energy_j}),
    }


def constraints_from(fields: Fields) -> Constraints:
    """The limits that `constraints_json` described."""
    return fields.record(
        lambda: Constraints(
            max_drop=fields.maybe("max_drop", lambda key: parse_drop(fields.text(key))),
            max_latency_s=fields.maybe("max_latency_s", fields.positive),
            max_size_bytes=fields.maybe("max_size_bytes", lambda key: fields.whole(key, least=1)),
            max_energy_j=fields.optional("max_energy_j", fields.positive),
        )
    )


def environment_from(fields: Fields) -> Environment:
    """The environment that `Environment.to_json` described."""
    return fields.record(
        lambda: Environment(
            cpu_model=fields.text("cpu_model"),
            flags=fields.texts("flags"),
            governor=fields.maybe("governor", fields.text),
            threads=fields.whole("threads", least=1),
            cores=tuple(_core(core, fields.at("cores")) for core in fields.numbers("cores")),
            runtime=fields.text("runtime"),
            runtime_version=fields.text("runtime_version"),
            python_version=fields.text("python_version"),
            os=fields.text("os"),
            load_1m=fields.optional("load_1m", fields.amount),
            clock_mhz=fields.optional("clock_mhz", fields.amount),
            device=fields.optional("device", fields.text),
            machine=fields.optional("machine", fields.text),
            power_mode=fields.optional("power_mode", fields.text),
            emulated=fields.flag("emulated") if fields.has("emulated") else False,
        )
    )


def _core(number: float, place: str) -> int:
    if number < 0 or number != int(number):
        raise Unfit(f"{place} must hold whole numbers of at least 0")
    return int(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """A layer of the original model."""

    name: str
    kind: str
    channels: int
    macs: int
    parameters: int

    @classmethod
    def from_json(cls, fields: Fields) -> "LayerFacts":
        """The layer that `asdict` described."""
        return fields.record(
            lambda: cls(
                name=fields.text("name"),
                kind=fields.text("kind"),
                channels=fields.whole("channels"),
                macs=fields.whole("macs"),
                parameters=fields.whole("parameters"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """A group of coupled channels, its layers, and the channel counts that the search may keep."""

    name: str
    channels: int
    layers: tuple[str, ...]
    levels: tuple[int, ...]

    @classmethod
    def from_json(cls, fields: Fields) -> "GroupFacts":
        """The group that `asdict` described."""
        return fields.record(
            lambda: cls(
                name=fields.text("name"),
                channels=fields.whole("channels", least=1),
                layers=fields.texts("layers"),
                levels=tuple(_core(level, fields.at("levels")) for level in fields.numbers("levels")),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusionFacts:
    """What stays whole, and why."""

    name: str
    reason: str

    @classmethod
    def from_json(cls, fields: Fields) -> "ExclusionFacts":
        """The record that `asdict` described."""
        return fields.record(lambda: cls(name=fields.text("name"), reason=fields.text("reason")))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """Everything of a run that is known before its first candidate. There is at least one target.

    `alternatives`: the targets are runtimes of one device, of which a candidate takes the best. Otherwise it
    has to serve all targets.
    """

    task: TaskFacts
    targets: tuple[RunTarget, ...]
    command: str
    sampler: str
    seed: int
    layers: tuple[LayerFacts, ...] = ()
    groups: tuple[GroupFacts, ...] = ()
    excluded: tuple[ExclusionFacts, ...] = ()
    alternatives: bool = False

    def __post_init__(self) -> None:
        names = [target.name for target in self.targets]
        if not names or len(set(names)) < len(names):
            raise ValueError("targets must hold at least one target, each name once.")
        object.__setattr__(self, "command", stored_command(self.command))

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the targets, in the order in which the user gave them."""
        return tuple(target.name for target in self.targets)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return {
            "task": self.task.to_json(),
            "targets": [target.to_json() for target in self.targets],
            "command": self.command,
            "sampler": self.sampler,
            "seed": self.seed,
            "layers": [asdict(layer) for layer in self.layers],
            "groups": [asdict(group) for group in self.groups],
            "excluded": [asdict(exclusion) for exclusion in self.excluded],
            **({"alternatives": True} if self.alternatives else {}),
        }

    @classmethod
    def taken_from(cls, fields: Fields) -> "RunFacts":
        """The facts that `to_json` described, out of an object that holds more."""
        return cls(
            task=TaskFacts.from_json(fields.object("task")),
            targets=tuple(RunTarget.from_json(target) for target in fields.objects("targets")),
            command=fields.text("command"),
            sampler=fields.text("sampler"),
            seed=fields.whole("seed"),
            layers=tuple(LayerFacts.from_json(layer) for layer in fields.objects("layers")),
            groups=tuple(GroupFacts.from_json(group) for group in fields.objects("groups")),
            excluded=tuple(ExclusionFacts.from_json(layer) for layer in fields.objects("excluded")),
            alternatives=fields.has("alternatives") and fields.flag("alternatives"),
        )
