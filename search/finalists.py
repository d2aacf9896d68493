"""Finalists: points of the front, measured longer in fresh processes, timed by layer, and scored once on the test split.

What was found is kept in `finalists.json` by artifact digest: a continued search never scores an artifact twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import StageError
from ..profiles import FINALIST_TIMING, TimingConfig
from ..targets.layer_times import LayerTimes
from .evaluate import Evaluator, Progress, StoredSplit
from .evaluation import Evaluation, Failure, Interval, Latency
from .front import contributions
from .run_directory import RunDirectory

_FILE = "finalists.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """What the final look at an artifact said; `latency` and `times` are None when their measurement failed."""

    test: float | None
    test_interval: Interval | None
    latency: Latency | None
    times: LayerTimes | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Finalist":
        """The record that `to_json` described."""
        interval, latency, times = value["test_interval"], value["latency"], value.get("times")
        return cls(
            test=value["test"],
            test_interval=None if interval is None else (interval[0], interval[1]),
            latency=None if latency is None else Latency.from_json(latency),
            times=None if times is None else LayerTimes(**times),
        )


class Finalists:
    """The final looks of a run, by artifact digest; written to the run directory after each."""

    def __init__(self, directory: RunDirectory, evaluator: Evaluator, test: StoredSplit, *, batch: int):
        self._directory = directory
        self._evaluator = evaluator
        self._test = test
        self._timing: TimingConfig = FINALIST_TIMING.with_batch(batch)
        stored = directory.read_json(_FILE) or {}
        self.known = {digest: Finalist.from_json(value) for digest, value in stored.items()}
        self.failures: list[Failure] = []

    def look_at(
        self,
        evaluations: Iterable[Evaluation],
        *,
        baseline: Evaluation,
        progress: Progress,
        time_left: Callable[[], bool],
    ) -> bool:
        """Looks at each evaluation that was not yet looked at, until the time is over; whether it looked at any."""
        looked = False
        for evaluation in evaluations:
            if evaluation.artifact.digest in self.known:
                continue
            if not time_left():
                break
            progress(f"finalist: trial {evaluation.trial}")
            self.known[evaluation.artifact.digest] = self._look(evaluation, baseline)
            self._directory.write_json(_FILE, {digest: item.to_json() for digest, item in self.known.items()})
            looked = True
        return looked

    def _look(self, evaluation: Evaluation, baseline: Evaluation) -> Finalist:
        finalist, failure = final_look(self._evaluator, evaluation, baseline=baseline, test=self._test, timing=self._timing)
        self.failures += [failure] if failure else []
        return finalist


def final_look(
    evaluator: Evaluator, evaluation: Evaluation, *, baseline: Evaluation, test: StoredSplit, timing: TimingConfig
) -> tuple[Finalist, Failure | None]:
    """The test split's score, a longer measurement and the times by layer; what came before a failure, and the failure."""
    finalist = Finalist(test=None, test_interval=None, latency=None)
    try:
        path = evaluator.artifact_path(evaluation)
        with evaluator.target.session() as session:
            value, interval = evaluator.quality(session, path, test)
            finalist = replace(finalist, test=value, test_interval=interval)
        measurement = evaluator.measure_again(evaluation, baseline=baseline, timing=timing)
        finalist = replace(finalist, latency=Latency.of(measurement))
        names = [layer.name for layer in evaluator.network.layers]
        with evaluator.target.session() as session:
            finalist = replace(finalist, times=session.profile_layers(path, names, batch=timing.batch))
    except StageError as error:
        return finalist, Failure.of(error, trial=evaluation.trial)
    return finalist, None


def by_contribution(front: list[Evaluation], vectors: Callable[[Evaluation], tuple[float, float, float]]) -> list[Evaluation]:
    """The front in the order in which to look at it: what adds most hypervolume first."""
    value = contributions({item.trial: vectors(item) for item in front})
    return sorted(front, key=lambda item: -value[item.trial])
