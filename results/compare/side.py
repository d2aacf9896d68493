"""Side: a run of a comparison, with its name. A bundle is one as well: its original and its point."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ...compress.recipe import Recipe
from ...errors import InputError
from ...profiles import PredictedLatency
from ..formats import label_of
from ..records.facts import RunFacts
from ..records.latency import AnyLatency, Predicted
from ..records.manifest import Manifest, ReferenceFacts
from ..records.point import ArtifactFacts, Measured, Point, Quality
from ..records.run import Run
from ..view import PointOn, RunOn

ORIGINAL_TRIAL = 0
UNKNOWN_DIGEST = ""  # of an original that its bundle does not carry


@dataclass(frozen=True, kw_only=True)
class Side:
    """A run and what it is called here, such as its path. That of a bundle has two points. `identity` is
    that of its run.toml, empty where that is not known.
    """

    label: str
    run: Run
    kind: Literal["run", "bundle"] = "run"
    identity: Mapping[str, str] = field(default_factory=dict)

    def on(self, target: str) -> RunOn:
        """The run on one of its targets."""
        return RunOn.of(self.run, target)

    def name_of(self, point: PointOn) -> str:
        """`trial 12`, `original`; the point of a bundle is `the bundle`."""
        if self.kind == "bundle" and point.trial != ORIGINAL_TRIAL:
            return "the bundle"
        return label_of(point, point.view)


def side_of_bundle(label: str, manifest: Manifest) -> Side:
    """The bundle as a run of its original and its point. InputError for a bundle of an original."""
    if manifest.trial == ORIGINAL_TRIAL:
        raise InputError(
            f"{label} holds the original model, which has nothing to compare: give another bundle."
        )
    trial = max(manifest.trial, ORIGINAL_TRIAL + 1)  # one that was fine-tuned has a number below 0
    point = Point(trial=trial, recipe=manifest.recipe, outcomes=_point(manifest))
    original = Point(trial=ORIGINAL_TRIAL, recipe=Recipe(), outcomes=_original(manifest))
    facts = RunFacts(
        task=manifest.task, targets=(manifest.target,), command=manifest.command, sampler="bundle", seed=0
    )
    return Side(label=label, kind="bundle", run=Run(facts=facts, points=(original, point), status="finished"))


def target_pairs(old: Side, new: Side) -> tuple[tuple[str, str], ...]:
    """The names of the targets that are compared: those that both have; where both have one, those two.
    InputError when there is no such pair.
    """
    names = [name for name in new.run.target_names if name in old.run.target_names]
    if names:
        return tuple((name, name) for name in names)
    if len(old.run.target_names) == len(new.run.target_names) == 1:
        return ((old.run.target_names[0], new.run.target_names[0]),)
    places = [f"{side.label} ({', '.join(side.run.target_names)})" for side in (old, new)]
    raise InputError(f"{' and '.join(places)} have no target in common: compare runs that share one.")


def _point(manifest: Manifest) -> dict[str, Measured]:
    facts = manifest.model
    artifact = ArtifactFacts(
        file=facts.file,
        digest=facts.measured_sha256 or facts.sha256,
        size_bytes=facts.judged_bytes,
        macs=facts.macs,
        parameters=facts.parameters,
    )
    measured = Measured(
        artifact=artifact,
        quality=manifest.quality,
        drop=manifest.drop,
        drop_interval=manifest.drop_interval,
        latency=manifest.latency,
        layers=manifest.layers,
    )
    return {manifest.target.name: measured}


def _original(manifest: Manifest) -> dict[str, Measured]:
    """What the manifest says of the original: its quality, latency and size; it counts no MACs."""
    reference, stated = manifest.reference, manifest.original
    digest = UNKNOWN_DIGEST
    if isinstance(reference, ReferenceFacts) and reference.kind == "original":
        digest = reference.sha256
    artifact = ArtifactFacts(
        file=f"reference.{manifest.target.container}",
        digest=digest,
        size_bytes=stated.size_bytes,
        macs=0,
        parameters=0,
    )
    measured = Measured(
        artifact=artifact,
        quality=Quality(validation=stated.validation),
        drop=0.0,
        latency=_latency_of_original(manifest.latency, stated.latency_s),
    )
    return {manifest.target.name: measured}


def _latency_of_original(point: AnyLatency, seconds: float) -> AnyLatency:
    """The original's latency beside that of the point; its ratio is 1 by definition."""
    if isinstance(point, Predicted):
        latency = PredictedLatency(seconds=seconds, source=point.source)
        return Predicted(latency=latency, ratio=1.0, error=point.error)
    return replace(
        point,
        latency_s=seconds,
        interval_s=(seconds, seconds),
        ratio=1.0,
        ratio_interval=(1.0, 1.0),
        p50_s=seconds,
        p90_s=seconds,
        p99_s=seconds,
        noisy=False,
        energy=None,  # the manifest counts only the point's
    )
