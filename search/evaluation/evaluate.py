"""Evaluating one candidate: build, run on validation, look up what was executed, measure.

This is the one place that catches a StageError and records it as a Failure; everything else that is raised is
a bug or the user's business, and ends the search.
"""

import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from ...compress.compressor import BuildResult
from ...compress.graph.network import Cost, Network
from ...compress.onnx_file.check import OutputCheck, check_outputs
from ...compress.recipe import Precision, Recipe
from ...compress.student.low_rank import factor_name
from ...errors import StageError
from ...profiles import Measurement, TimingConfig
from ...results.evaluation import AnyLatency, ArtifactFacts, Evaluation, Failure, Interval
from ...results.records import Answers
from ...targets.lease import training
from ...targets.target import TargetSession
from ...tasks.data import write_inputs
from ...tasks.quality import score
from ...tasks.task import Metric, Split
from .availability import Availability, Patience
from .further import on_further_targets
from .predicted import AnyTarget, PredictedTarget, latency_on
from .uncertainty import bootstrap_interval

Progress = Callable[[str], None]
VALIDATION_BATCH = 250
PACE_S = 5.0


class Builder(Protocol):
    """What an evaluator needs of a Compressor."""

    def build(self, recipe: Recipe, out_dir: Path, *, progress: Progress | None = None) -> BuildResult:
        """The artifact of a recipe, in `out_dir`. Raises StageError."""
        ...


class StoredSplit:
    """A split on disk for the worker (`inputs`, an .npz), its targets here; read and written on first use."""

    def __init__(self, split: Split, path: Path):
        self._split = split
        self._path = path

    @property
    def inputs(self) -> Path:
        """The file with the inputs."""
        self.targets  # noqa: B018 - writes the file
        return self._path

    @cached_property
    def targets(self) -> Any:
        """The targets of the whole split."""
        return write_inputs(self._split, self._path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Evaluates candidates of one run. `elapsed` tells the run's time in seconds.

    With several targets `target` is the primary one, which decides whether a candidate failed; see further.py
    for the others.
    """

    network: Network
    compressor: Builder
    target: AnyTarget
    metric: Metric
    validation: StoredSplit
    artifacts: Path
    timing: TimingConfig
    elapsed: Callable[[], float]
    further: tuple[AnyTarget, ...] = ()
    availability: Availability = field(default_factory=Availability)
    patience: Patience = field(default_factory=Patience)

    def close(self) -> None:
        """Ends the connections to boards; the next use connects again."""
        for target in (self.target, *self.further):
            target.close()

    def on(self, target: str) -> "Evaluator":
        """The evaluator of one target alone."""
        found = next(item for item in (self.target, *self.further) if item.profile.name == target)
        return replace(self, target=found, further=())

    def evaluate(
        self,
        trial: int,
        recipe: Recipe,
        *,
        baseline: Evaluation | None,
        progress: Progress,
        built: BuildResult | None = None,
    ) -> Evaluation | Failure:
        """What comes of the recipe, tried twice when the first failure is transient. `baseline` is None for
        itself.

        `built` is the recipe's artifact where another process made it. A target that is away is waited for;
        TargetUnavailable when it stays away.
        """
        try:
            return self._attempt(trial, recipe, baseline, progress, built)
        except StageError as error:
            if not error.retryable:
                return Failure.of(error, trial=trial)
            progress(f"retrying after: {error}")
        try:
            return self._attempt(trial, recipe, baseline, progress, built)
        except StageError as error:
            return Failure.of(error, trial=trial)

    def _built(self, recipe: Recipe, progress: Progress) -> BuildResult:
        with PacedTraining(progress) as paced:
            return self.compressor.build(recipe, self.artifacts, progress=paced)

    def _attempt(
        self,
        trial: int,
        recipe: Recipe,
        baseline: Evaluation | None,
        progress: Progress,
        built: BuildResult | None,
    ) -> Evaluation:
        build = built or self._built(recipe, progress)
        seconds = dict(build.seconds)
        artifact = build.artifact
        reference = artifact.path if baseline is None else self.artifact_path(baseline)

        def measured() -> tuple[Answers, AnyLatency, float]:
            with self.target.session() as session:
                progress("validating")
                answers = self.answers(session, build, recipe, seconds=seconds, target=self.target)
                with _timed(seconds, "measure"):
                    progress("measuring")
                    latency, loop_s = latency_on(
                        self.target,
                        session,
                        recipe,
                        model=artifact.path,
                        baseline=reference,
                        timing=self.timing,
                    )
                    return answers, latency, loop_s

        answers, latency, loop_s = self.patience.until_back(
            measured, name=self.target.profile.name, say=progress
        )
        seconds["timing loop"] = min(loop_s, seconds["measure"])
        seconds["measure"] -= seconds["timing loop"]
        evaluation = Evaluation(
            trial=trial,
            recipe=recipe,
            artifact=ArtifactFacts.of(artifact),
            validation=answers.validation,
            validation_interval=answers.interval,
            drop=0.0
            if baseline is None
            else self.metric.drop(answers.validation, baseline=baseline.validation),
            latency=latency,
            layers=answers.layers,
            elapsed_s=self.elapsed(),
            seconds=seconds,
        )
        if not self.further:
            return evaluation
        evaluation = on_further_targets(self, evaluation, build, baseline=baseline, progress=progress)
        return replace(evaluation, elapsed_s=self.elapsed())

    def answers(
        self,
        session: TargetSession,
        build: BuildResult,
        recipe: Recipe,
        *,
        seconds: MutableMapping[str, float],
        target: AnyTarget,
    ) -> Answers:
        """What a built artifact answers on the target, checked against torch; the stages' times go to
        `seconds`.

        What a stand-in executes says nothing of the target. Raises StageError.
        """
        path = build.artifact.path
        with _timed(seconds, "check"):
            _check(session, path, build.check, batch=self._batch(session, len(build.check.inputs[0])))
        with _timed(seconds, "validate"):
            value, interval = self.quality(session, path, self.validation)
        with _timed(seconds, "inspect"):
            names = [layer.name for layer in self.network.layers] + [
                factor_name(name) for name in recipe.rank
            ]
            executed: dict[str, Precision] = {}
            if not isinstance(target, PredictedTarget):
                executed = session.executed_precision(path, names, batch=self.timing.batch)
        cost = self.network.stored_as(target.profile.int8_weights).cost(recipe)
        layers = layer_rows(self.network, cost, recipe, executed=executed)
        return Answers(validation=value, interval=interval, layers=layers)

    def quality(
        self, session: TargetSession, model: Path, split: StoredSplit
    ) -> tuple[float, Interval | None]:
        """The metric of an artifact on a split and its interval. StageError when it is no finite number."""
        outputs = session.run(model, split.inputs, batch=self._batch(session, VALIDATION_BATCH))
        value = score(self.metric, outputs, split.targets)
        if not np.isfinite(value):
            message = f"The metric {self.metric.name!r} of the artifact is {value}."
            raise StageError(message, stage="run", kind="wrong-output")
        return value, bootstrap_interval(self.metric, outputs, split.targets)

    def _batch(self, session: TargetSession, batch: int) -> int:
        return session.running_batch(batch, measured=self.timing.batch)

    def measure_again(
        self, evaluation: Evaluation, *, baseline: Evaluation, timing: TimingConfig
    ) -> Measurement:
        """A measurement of a finished candidate in a fresh worker process. Raises StageError."""
        assert not isinstance(self.target, PredictedTarget), "a stand-in's latency is not the target's"
        with self.target.session() as session:
            return session.measure(self.artifact_path(evaluation), self.artifact_path(baseline), timing)

    def artifact_path(self, evaluation: Evaluation) -> Path:
        """The candidate's artifact, built again when its file is gone. Raises StageError."""
        path = self.artifacts / Path(evaluation.artifact.file).name
        if path.is_file():
            return path
        build = self.compressor.build(evaluation.recipe, self.artifacts)
        return path if path.is_file() else build.artifact.path


class PacedTraining:
    """The lease for training, let go for a moment at least every PACE_S, so that other searches' measurements
    get through.

    Called with a message as a progress callback; a context manager. `cores` are those that the process is
    pinned to, if it is.
    """

    def __init__(self, progress: Progress, *, cores: Collection[int] | None = None):
        self._progress = progress
        self._cores = cores
        self._lease = ExitStack()
        self._since = 0.0

    def __enter__(self) -> "PacedTraining":
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lease.close()

    def __call__(self, message: str) -> None:
        self._progress(message)
        if time.monotonic() - self._since > PACE_S:
            self._lease.close()
            self._take()

    def _take(self) -> None:
        self._lease.enter_context(training(cores=self._cores))
        self._since = time.monotonic()


def _check(session: TargetSession, model: Path, check: OutputCheck, *, batch: int) -> None:
    """Raises StageError when the runtime's answers differ from those of the same model in torch."""
    with tempfile.TemporaryDirectory(prefix="autocompress-") as folder:
        inputs = Path(folder) / "check.npz"
        np.savez(
            inputs, allow_pickle=False, **{str(index): array for index, array in enumerate(check.inputs)}
        )
        check_outputs(session.run(model, inputs, batch=batch, exact=True), check)


@contextmanager
def _timed(seconds: MutableMapping[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def layer_rows(
    network: Network, cost: Cost, recipe: Recipe, *, executed: Mapping[str, Precision]
) -> tuple[dict[str, Any], ...]:
    """The rows of front.json for each layer; `precision_executed` is None where the runtime's graph does not
    show it.

    `bits` are those in which a weight is stored; a layer that was removed has no channels. Of a layer that
    became two, the slower precision counts.
    """
    return tuple(
        {
            "name": layer.name,
            "kind": layer.kind,
            "channels_in": left.channels_in,
            "channels_out": left.channels_out,
            "channels_in_original": layer.channels_in,
            "channels_out_original": layer.channels_out,
            "precision_asked": recipe.precision.get(layer.name, "float32"),
            "precision_executed": _slower(executed.get(layer.name), executed.get(factor_name(layer.name))),
            "bits": left.bits,
            "macs": left.macs,
            "parameters": left.parameters,
            "bytes": left.bytes,
        }
        for layer, left in zip(network.layers, cost.layers, strict=True)
    )


def _slower(layer: Precision | None, factor: Precision | None) -> Precision | None:
    return "float32" if "float32" in (layer, factor) else layer
