"""Look: what the longer measurement of a finalist on one target said, and how it becomes part of a point."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import StageError, is_away
from ..evaluation.evaluate import Evaluator
from ..evaluation.predicted import PredictedTarget
from ..evaluation.stored_split import StoredSplit
from ..profiles import TimingConfig
from ..results.records.latency import Latency
from ..results.records.point import Failure, Measured, Point
from ..results.records.reading import Fields, Interval
from ..targets.layer_times import LayerTimes

LookKey = tuple[str, str]  # the artifact's digest, and the target's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the longer look at an artifact said. `latency` and `times` are None where measuring failed, or
    where nothing can be measured. `rounds` is how often the latency was measured.
    """

    test: float | None = None
    test_interval: Interval | None = None
    test_drop: float | None = None
    test_drop_interval: Interval | None = None
    latency: Latency | None = None
    times: LayerTimes | None = None
    rounds: int = 1

    @property
    def half_width(self) -> float:
        """That of its latency, relative; 0 without one."""
        return 0.0 if self.latency is None else self.latency.half_width

    def applied(self, measured: Measured, original: "Look | None") -> Measured:
        """The candidate as the look found it: its test quality, its longer latency, its times by layer.

        `original` is the look at the original model on the same target.
        """
        mine = self.times.layers if self.times else {}
        before = original.times.layers if original and original.times else {}
        layers = tuple(
            replace(row, time_s=mine.get(row.name), time_original_s=before.get(row.name))
            for row in measured.layers
        )
        return replace(
            measured,
            quality=replace(
                measured.quality,
                test=self.test,
                test_interval=self.test_interval,
                test_drop=self.test_drop,
                test_drop_interval=self.test_drop_interval,
            ),
            latency=self.latency or measured.latency,
            layers=layers,
            finalist=True,
            other_time_s=self.times.other_s if self.times else None,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Fields) -> "Look":
        """The record that `to_json` described."""
        return fields.record(
            lambda: cls(
                test=fields.maybe("test", fields.number),
                test_interval=fields.maybe("test_interval", fields.interval),
                test_drop=fields.optional("test_drop", fields.number),
                test_drop_interval=fields.optional("test_drop_interval", fields.interval),
                latency=fields.maybe("latency", lambda key: Latency.from_json(fields.object(key))),
                times=fields.maybe("times", lambda key: _times_from(fields.object(key))),
                rounds=fields.optional("rounds", lambda key: fields.whole(key, least=1)) or 1,
            )
        )


def _times_from(fields: Fields) -> LayerTimes:
    return fields.record(
        lambda: LayerTimes(
            layers=fields.each("layers", lambda layers, name: layers.amount(name)),
            other_s=fields.amount("other_s"),
        )
    )


def with_looks(point: Point, original: Point, looks: Mapping[LookKey, Look]) -> Point:
    """The point as the latest looks found it, on each target that has one."""
    outcomes = dict(point.outcomes)
    for name, measured in point.measured.items():
        look = looks.get((measured.artifact.digest, name))
        if look is not None:
            reference = original.measured.get(name)
            first = looks.get((reference.artifact.digest, name)) if reference else None
            outcomes[name] = look.applied(measured, first)
    return point if outcomes == dict(point.outcomes) else replace(point, outcomes=outcomes)


def look_longer(
    evaluator: Evaluator,
    point: Point,
    target_name: str,
    *,
    baseline: Point,
    test: StoredSplit,
    timing: TimingConfig,
    scored: Look | None = None,
) -> tuple[Look, Failure | None]:
    """The test split's score, a longer measurement and the times by layer on a target; what came before a
    failure, and the failure.

    On a predicted target there is nothing to measure: the score is all. A target that is away is no failure
    of the candidate: that error is raised. `scored` is a look whose score on the test split is taken over.
    """
    look = Look() if scored is None else replace(scored, latency=None, times=None)
    target, bench = evaluator.target(target_name), evaluator.bench
    measured, original = point.measured[target_name], baseline.measured[target_name]
    try:
        path = bench.artifact_path(point.recipe, measured.artifact)
        reference = bench.artifact_path(baseline.recipe, original.artifact)
        if scored is None:
            with target.session() as session:
                scores = bench.examiner.scored(target, session, path, test, original=reference)
            look = Look(
                test=scores.value,
                test_interval=scores.interval,
                test_drop=scores.drop,
                test_drop_interval=scores.drop_interval,
            )
        if isinstance(target, PredictedTarget):
            return look, None
        with target.session() as session:
            look = replace(look, latency=Latency.of(session.measure(path, reference, timing)))
        names = [layer.name for layer in bench.examiner.network.layers]
        with target.session() as session:
            look = replace(look, times=session.profile_layers(path, names, batch=timing.batch))
    except StageError as error:
        if is_away(error):
            raise
        return look, Failure.of(error, trial=point.trial)
    return look, None


def look_again(
    evaluator: Evaluator,
    point: Point,
    target_name: str,
    *,
    baseline: Point,
    timing: TimingConfig,
    look: Look,
) -> Look:
    """The look with one more measurement: its latency is that of all rounds, of which the store has the
    earlier ones. A measurement that fails leaves the latency as it is. Raises what says that the target is
    away.
    """
    target, bench = evaluator.target(target_name), evaluator.bench
    measured, original = point.measured[target_name], baseline.measured[target_name]
    numbers = range(1, look.rounds + 2)
    try:
        path = bench.artifact_path(point.recipe, measured.artifact)
        reference = bench.artifact_path(baseline.recipe, original.artifact)
        with target.session() as session:
            rounds = [session.measure(path, reference, replace(timing, round=number)) for number in numbers]
    except StageError as error:
        if is_away(error):
            raise
        return replace(look, rounds=look.rounds + 1)
    return replace(look, latency=Latency.of_rounds(rounds), rounds=len(rounds))
