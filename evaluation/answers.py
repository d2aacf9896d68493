"""Answers: what a file answers in a runtime. Targets that run the same file alike share them."""

from collections.abc import Hashable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..compress.compressor import BuiltFile
from ..compress.graph.factors import factor_name
from ..compress.graph.network import Cost, Network
from ..compress.onnx_file.check import OutputCheck, check_outputs
from ..compress.recipe import Precision, Recipe
from ..errors import StageError
from ..results.records.point import LayerRow, Quality
from ..results.records.reading import Interval
from ..scratch import temporary_folder
from ..targets.lease import own_s
from ..targets.on_device.inputs import Picked
from ..targets.target import TargetSession
from ..tasks.metrics.accumulate import accumulator_of
from ..tasks.task import Metric
from .predicted import AnyTarget, PredictedTarget
from .racing import Bar, require_in_race, stages
from .sample_statistics import StatisticsFolder
from .stored_split import StoredSplit
from .uncertainty import Scores, drop_interval, is_quick, scores_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The metric of a file with the interval of its drop, and its layers with the precision that they ran
    in.
    """

    quality: Quality
    layers: tuple[LayerRow, ...]
    drop_interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The metric of a file on a split, and its drop against the original; the latter None for the original
    itself.
    """

    value: float
    interval: Interval | None
    drop: float | None = None
    drop_interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnSplit:
    """The scores of a file on a split. `early` are those of the original on nested parts, by their ends: what
    candidates are compared with in a race; empty where the metric has no quick intervals.
    """

    whole: Scores
    early: Mapping[int, Scores] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examiner:
    """Asks files for their answers. `measured_batch` is the batch size of latencies.

    `originals` has the original's scores by target and split, for as long as the session lasts: all its
    candidates are compared with them. What each file answered is summed up in `statistics`. `races`: whether
    validation is read in nested parts.
    """

    network: Network
    metric: Metric
    validation: StoredSplit
    measured_batch: int
    originals: dict[Hashable, OnSplit] = field(default_factory=dict)
    statistics: StatisticsFolder | None = None
    races: bool = False

    def answers(
        self,
        target: AnyTarget,
        session: TargetSession,
        build: BuiltFile,
        recipe: Recipe,
        *,
        original: Path,
        seconds: MutableMapping[str, float],
        bar: Bar | None = None,
    ) -> Answers:
        """What a built artifact answers on the target, checked against torch; stages' times go to `seconds`.

        `original` is the file of the original, or this file where it is the original's own. What a stand-in
        executes says nothing of the target. Raises StageError, and Beaten by the `bar`.
        """
        path = build.artifact.path
        with timed(seconds, "check"):
            for check in (build.check, *build.more_checks):
                _check(session, path, check, batch=self._batch(session, len(check.inputs[0])))
        with timed(seconds, "validate"):
            scored = self.scored(target, session, path, self.validation, original=original, bar=bar)
        with timed(seconds, "inspect"):
            names = [layer.name for layer in self.network.layers]
            names += [factor_name(name) for name in recipe.rank]
            executed: dict[str, Precision] = {}
            if not isinstance(target, PredictedTarget):
                executed = session.executed_precision(path, names, batch=self.measured_batch)
        cost = self.network.stored_as(target.profile.int8_weights).cost(recipe)
        rows = layer_rows(self.network, cost, recipe, executed=executed)
        quality = Quality(validation=scored.value, interval=scored.interval)
        return Answers(quality=quality, layers=rows, drop_interval=scored.drop_interval)

    def scored(
        self,
        target: AnyTarget,
        session: TargetSession,
        model: Path,
        split: StoredSplit,
        *,
        original: Path,
        bar: Bar | None = None,
    ) -> Scored:
        """The metric of an artifact on a split, and its drop against the file of the original.

        StageError when it is no finite number; Beaten when the drop is above the bar.
        """
        key = answers_key(target, original.name), split.inputs
        if model == original:
            self.originals[key] = self._scores(session, model, split)
            scores = self.originals[key].whole
            return Scored(value=scores.value, interval=scores.interval(self.metric))
        if key not in self.originals:  # an earlier session measured it
            self.originals[key] = self._scores(session, original, split)
        before = self.originals[key]
        scores = self._scores(session, model, split, before=before, bar=bar).whole
        return Scored(
            value=scores.value,
            interval=scores.interval(self.metric),
            drop=self.metric.drop(scores.value, baseline=before.whole.value),
            drop_interval=drop_interval(self.metric, before.whole, scores),
        )

    def _scores(
        self,
        session: TargetSession,
        model: Path,
        split: StoredSplit,
        *,
        before: OnSplit | None = None,
        bar: Bar | None = None,
    ) -> OnSplit:
        accumulator, told, early = accumulator_of(self.metric), None, dict[int, Scores]()
        if self.statistics is not None and split is self.validation:
            told = self.statistics.outputs(model.stem, samples=split.samples)
        batch, low, quick = self._batch(session, split.batch), 0, True
        for high in stages(split.samples) if self.races and split is self.validation else (Picked.WHOLE,):
            for outputs, targets in split.answered(session, model, batch=batch, low=low, high=high):
                accumulator.add(outputs, targets)
                if told is not None:
                    told.add(outputs)
            low = high
            if high == Picked.WHOLE:
                break
            if before is None and quick:
                early[high] = scores_from(accumulator)
                quick = is_quick(accumulator, early[high])
            elif before is not None and bar is not None and high in before.early:
                then = before.early[high]
                now = scores_from(accumulator, like=then)
                require_in_race(self.metric, then, now, bar, of=split.samples)
        if told is not None:
            told.done()
        scores = scores_from(accumulator, like=None if before is None else before.whole)
        if not np.isfinite(scores.value):
            message = f"The metric {self.metric.name!r} of the artifact is {scores.value}."
            raise StageError(message, stage="run", kind="wrong-output")
        return OnSplit(whole=scores, early=early if quick else {})

    def _batch(self, session: TargetSession, batch: int) -> int:
        return session.running_batch(batch, measured=self.measured_batch)


def answers_key(target: AnyTarget, digest: str) -> Hashable:
    """What decides the answers of a file: two targets with equal keys share them."""
    if isinstance(target, PredictedTarget):
        return digest, "stand-in"
    return digest, target.profile.runtime, tuple(sorted(target.profile.runtime_options.items()))


@contextmanager
def timed(seconds: MutableMapping[str, float], name: str) -> Iterator[None]:
    """Adds the time of the block to `seconds`."""
    start = own_s()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + own_s() - start


def layer_rows(
    network: Network, cost: Cost, recipe: Recipe, *, executed: Mapping[str, Precision]
) -> tuple[LayerRow, ...]:
    """A row for each layer; `precision_executed` is None where the runtime's graph does not show it.

    Of a layer that became two, the slower precision counts.
    """
    return tuple(
        LayerRow(
            name=layer.name,
            kind=layer.kind,
            channels_in=compressed.channels_in,
            channels_out=compressed.channels_out,
            channels_in_original=layer.channels_in,
            channels_out_original=layer.channels_out,
            precision_asked=recipe.precision.get(layer.name, "float32"),
            precision_executed=_slower([executed.get(layer.name), executed.get(factor_name(layer.name))]),
            bits=compressed.bits,
            macs=compressed.macs,
            parameters=compressed.parameters,
            bytes=compressed.bytes,
        )
        for layer, compressed in zip(network.layers, cost.layers, strict=True)
    )


def _slower(precisions: Sequence[Precision | None]) -> Precision | None:
    return "float32" if "float32" in precisions else precisions[0]


def _check(session: TargetSession, model: Path, check: OutputCheck, *, batch: int) -> None:
    """Raises StageError when the runtime's answers differ from those of the same model in torch."""
    with temporary_folder() as folder:
        inputs = folder / "check.npz"
        arrays: dict[str, Any] = {str(index): array for index, array in enumerate(check.inputs)}
        np.savez(inputs, allow_pickle=False, **arrays)
        check_outputs(session.run(model, inputs, batch=batch, exact=True), check)
