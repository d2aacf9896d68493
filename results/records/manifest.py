"""Manifest: what a bundle says of its model: how to run it, and every number with its spread.

manifest.json is for people and scripts too, so that it says some things twice: the session's threads, the
size in bytes. They are derived here, and checked when a manifest is read.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from ...compress.recipe import Recipe
from ...profiles.runtimes import Container, container_of
from .facts import MetricFacts, Prediction, RunTarget, TaskFacts, environment_from, sizes_from
from .latency import AnyLatency, Predicted, latency_from_json
from .point import LayerRow, Quality, recipe_from
from .reading import Fields, Interval, Unfit, require_finite, require_inside
from .statistics import SampleStatistics

SCHEMA_VERSION = 3  # of manifest.json
_OLD = "the bundle is of a version of autocompress that wrote none"  # no reference in 1, no statistics in 2

LARGEST_MODEL_BYTES = (1 << 31) - 1  # an ONNX file holds no more

ModelName = Literal["model.onnx", "model.tflite", "model.packed"]
_FILES: Mapping[Container, ModelName] = {"onnx": "model.onnx", "tflite": "model.tflite"}
ReferenceKind = Literal["original", "workload"]
Shape = tuple[int | str, ...]


def model_name(runtime: str) -> ModelName:
    """What the model's file is called that a runtime reads, unless it is packed."""
    return _FILES[container_of(runtime)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model's file in the bundle. The numbers are of the file itself, `packed_bytes` of the packed one.

    `measured_sha256` is of its first `measured_bytes` bytes: the file that was measured, after which metadata
    follow (deploy/bundled/shipped.py). None in bundles of before there were any.
    """

    file: ModelName
    sha256: str
    size_bytes: int
    macs: int
    parameters: int
    packed_bytes: int | None = None
    measured_sha256: str | None = None
    measured_bytes: int | None = None

    def __post_init__(self) -> None:
        digests = (self.sha256, self.measured_sha256 or self.sha256)
        if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests):
            raise ValueError("sha256 must have 64 hexadecimal digits.")
        if self.judged_bytes > self.size_bytes:
            raise ValueError("measured_bytes must be at most size_bytes.")
        if (self.file == "model.packed") != (self.packed_bytes is not None):
            raise ValueError("packed_bytes must be there for model.packed, and only for it.")
        if max(self.size_bytes, self.packed_bytes or 0) > LARGEST_MODEL_BYTES:
            raise ValueError("size_bytes is more than the 2 GB that an ONNX file can hold.")

    @property
    def judged_bytes(self) -> int:
        """The size that the search measured and judged."""
        return self.size_bytes if self.measured_bytes is None else self.measured_bytes

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, fields: Fields) -> "ModelFacts":
        """The record that `to_json` described."""
        packed = fields.has("packed_bytes")
        return fields.record(
            lambda: cls(
                file=fields.choice("file", get_args(ModelName)),
                sha256=fields.text("sha256"),
                size_bytes=fields.whole("size_bytes", least=1),
                macs=fields.whole("macs"),
                parameters=fields.whole("parameters"),
                packed_bytes=fields.whole("packed_bytes", least=1) if packed else None,
                measured_sha256=fields.optional("measured_sha256", fields.text),
                measured_bytes=fields.optional("measured_bytes", lambda key: fields.whole(key, least=1)),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFacts:
    """An input or output of the model. A dynamic dimension is its name; `dtype` is NumPy's name."""

    name: str
    shape: Shape
    dtype: str

    @classmethod
    def from_json(cls, fields: Fields) -> "TensorFacts":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(name=fields.text("name"), shape=_shape(fields), dtype=fields.text("dtype"))
        )


def _shape(fields: Fields) -> Shape:
    value = fields.value("shape")
    good = isinstance(value, list) and all(isinstance(size, int | str) for size in value)
    if not good or any(isinstance(size, bool) for size in value):
        raise Unfit(f"{fields.at('shape')} must be a list of sizes and names of dynamic dimensions")
    return tuple(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFacts:
    """What the model's latency is compared with (deploy/reference.py), and its ratio to that."""

    kind: ReferenceKind
    sha256: str
    size_bytes: int
    ratio: float
    ratio_interval: Interval

    def __post_init__(self) -> None:
        require_finite(ratio=self.ratio)
        low, high = self.ratio_interval
        if not 0 <= low <= self.ratio <= high or self.ratio <= 0:
            raise ValueError(f"ratio {self.ratio} must be above 0 and in {list(self.ratio_interval)}.")

    @classmethod
    def from_json(cls, fields: Fields) -> "ReferenceFacts":
        """The record that `asdict` described."""
        return fields.record(
            lambda: cls(
                kind=fields.choice("kind", get_args(ReferenceKind)),
                sha256=fields.text("sha256"),
                size_bytes=fields.whole("size_bytes", least=1),
                ratio=fields.positive("ratio"),
                ratio_interval=fields.interval("ratio_interval"),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalFacts:
    """The original model on the same target. `latency_s` is predicted where the point's own latency is."""

    validation: float
    latency_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What manifest.json says of a point. The task has no notes here and the target no limits.

    `layer_times` says in a sentence what the times of the layers are. Without a `reference` or
    `statistics` of samples it is a sentence that says why.
    """

    trial: int
    model: ModelFacts
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    recipe: Recipe
    task: TaskFacts
    target: RunTarget
    quality: Quality
    drop: float
    latency: AnyLatency
    original: OriginalFacts
    indistinguishable_from: tuple[int, ...]
    layers: tuple[LayerRow, ...]
    layer_times: str
    warnings: tuple[str, ...]
    command: str
    reference: ReferenceFacts | str
    statistics: SampleStatistics | str = _OLD
    drop_interval: Interval | None = None

    def __post_init__(self) -> None:
        require_inside(self.drop_interval, drop=self.drop)

    @property
    def answering(self) -> str:
        """The runtime whose answers, on the machine that verifies, the model's are compared with."""
        return "LiteRT" if self.target.container == "tflite" else "ONNX Runtime"

    @property
    def name(self) -> str:
        """What the bundle is called."""
        return f"{self.task.name}-{self.target.name}-trial-{self.trial}"

    def to_json(self) -> dict[str, Any]:
        """The value of manifest.json, from which `from_json` makes an equal record."""
        task, target = self.task, self.target.to_json()
        environment, _, prediction = (target.pop(key) for key in ("environment", "constraints", "prediction"))
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "model": self.model.to_json(),
            "inputs": [asdict(tensor) for tensor in self.inputs],
            "outputs": [asdict(tensor) for tensor in self.outputs],
            "preprocessing": dict(task.preprocessing),
            "session": self._session(),
            "reference": self._reference(),
            "statistics": {"missing": self.statistics}
            if isinstance(self.statistics, str)
            else self.statistics.to_json(),
            "metrics": self._metrics(),
            "recipe": self.recipe.to_json(),
            "layers": [asdict(layer) for layer in self.layers],
            "layer_times": self.layer_times,
            "warnings": list(self.warnings),
            "task": {
                "name": task.name,
                "spec": task.spec,
                "arguments": dict(task.arguments),
                "digest": task.digest,
            },
            "target": target | ({"predicted": prediction} if prediction else {}),
            "environment": environment,
            "reproduce": {"command": self.command, "trial": self.trial},
        }

    def _reference(self) -> dict[str, Any]:
        if isinstance(self.reference, str):
            return {"missing": self.reference}
        return asdict(self.reference)

    def _session(self) -> dict[str, Any]:
        target = self.target
        return {
            "runtime": target.runtime,
            "threads": target.threads,
            "options": dict(target.runtime_options),
        }

    def _metrics(self) -> dict[str, Any]:
        original, key = self.original, _original_key(self.latency)
        return {
            "quality": {
                "metric": self.task.metric.to_json(),
                **asdict(self.quality),
                "drop": self.drop,
                "drop_interval": self.drop_interval,
                "original_validation": original.validation,
            },
            "latency": {**self.latency.to_json(), key: original.latency_s},
            "size": {
                "bytes": self.model.judged_bytes,
                "ratio": self.model.judged_bytes / original.size_bytes,
                "original_bytes": original.size_bytes,
            },
            "indistinguishable_from": list(self.indistinguishable_from),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> "Manifest":
        """The record that `to_json` described, of this schema version. Unfit when it contradicts itself."""
        version = fields.choice("schema_version", (SCHEMA_VERSION, 2, 1))
        made = fields.record(lambda: _manifest(fields, version))
        derived = made.to_json()
        for key in ("name", "session"):
            if fields.value(key) != derived[key]:
                raise Unfit(f"{key} is not what the task and the target say")
        if fields.object("metrics").value("size") != derived["metrics"]["size"]:
            raise Unfit("metrics.size is not what the model says")
        return made


def _original_key(latency: AnyLatency) -> str:
    return "original_predicted_s" if isinstance(latency, Predicted) else "original_s"


def _manifest(fields: Fields, version: int) -> Manifest:
    fields.text("name"), fields.object("session")  # what they say is derived
    reproduce, metrics = fields.object("reproduce"), fields.object("metrics")
    quality, latency, size = (metrics.object(key) for key in ("quality", "latency", "size"))
    command, trial = reproduce.record(
        lambda: (reproduce.text("command"), reproduce.whole("trial", least=-(10**9)))
    )
    original = OriginalFacts(
        validation=quality.number("original_validation"),
        latency_s=latency.positive("original_predicted_s" if latency.has("predicted_s") else "original_s"),
        size_bytes=size.whole("original_bytes", least=1),
    )
    metric, drop = MetricFacts.from_json(quality.object("metric")), quality.number("drop")
    drop_interval = quality.optional("drop_interval", quality.interval)
    same: list[Any] = metrics.value("indistinguishable_from")
    if not isinstance(same, list) or any(type(number) is not int for number in same):
        raise Unfit("metrics.indistinguishable_from must be a list of trials")
    metrics.record(lambda: None)  # refuses a key that nothing asked for
    return Manifest(
        trial=trial,
        model=ModelFacts.from_json(fields.object("model")),
        inputs=tuple(TensorFacts.from_json(tensor) for tensor in fields.objects("inputs")),
        outputs=tuple(TensorFacts.from_json(tensor) for tensor in fields.objects("outputs")),
        recipe=recipe_from(fields.object("recipe")),
        task=_task(fields, metric),
        target=_target(fields),
        quality=Quality.from_json(quality),
        drop=drop,
        drop_interval=drop_interval,
        latency=latency_from_json(latency),
        original=original,
        indistinguishable_from=tuple(same),
        layers=tuple(LayerRow.from_json(row) for row in fields.objects("layers")),
        layer_times=fields.text("layer_times"),
        warnings=fields.texts("warnings"),
        command=command,
        reference=_OLD if version == 1 else _reference(fields.object("reference")),
        statistics=_OLD if version < 3 else _statistics(fields.object("statistics")),
    )


def _statistics(fields: Fields) -> SampleStatistics | str:
    if fields.has("missing"):
        return fields.record(lambda: fields.text("missing"))
    return SampleStatistics.from_json(fields)


def _reference(fields: Fields) -> ReferenceFacts | str:
    if fields.has("missing"):
        return fields.record(lambda: fields.text("missing"))
    return ReferenceFacts.from_json(fields)


def _task(fields: Fields, metric: MetricFacts) -> TaskFacts:
    task = fields.object("task")
    preprocessing = fields.each("preprocessing", lambda entries, name: entries.value(name))
    return task.record(
        lambda: TaskFacts(
            name=task.text("name"),
            metric=metric,
            spec=task.text("spec"),
            arguments=task.each("arguments", lambda entries, name: entries.text(name)),
            digest=task.text("digest"),
            preprocessing=preprocessing,
        )
    )


def _target(fields: Fields) -> RunTarget:
    target, predicted = fields.object("target"), None
    if target.has("predicted"):
        predicted = Prediction.from_json(target.object("predicted"))
    made = target.record(
        lambda: RunTarget(
            name=target.target("name"),
            profile_fingerprint=target.text("profile_fingerprint"),
            threads=target.whole("threads", least=1),
            runtime=target.text("runtime"),
            runtime_options=target.each("runtime_options", lambda entries, name: entries.text(name)),
            batch=target.whole("batch", least=1),
            sizes=sizes_from(target.object("sizes")) if target.has("sizes") else None,
            prediction=predicted,
        )
    )
    return replace(
        made, environment=fields.maybe("environment", lambda key: environment_from(fields.object(key)))
    )
