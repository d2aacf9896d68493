"""Finalists: points of the front, measured again in fresh processes with longer runs, and scored once on the test split.

What was found is kept in `finalists.json` by artifact digest: a continued search never scores an artifact twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import StageError
from ..profiles import FINALIST_TIMING, TimingConfig
from .evaluate import Evaluator, Progress, StoredSplit
from .evaluation import Evaluation, Failure, Interval, Latency
from .front import contributions
from .run_directory import RunDirectory

_FILE = "finalists.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """What the final look at an artifact said; `latency` is None when its measurement failed."""

    test: float | None
    test_interval: Interval | None
    latency: Latency | None

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which `from_json` makes an equal record."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Finalist":
        """The record that `to_json` described."""
        interval, latency = value["test_interval"], value["latency"]
        return cls(
            test=value["test"],
            test_interval=None if interval is None else (interval[0], interval[1]),
            latency=None if latency is None else Latency.from_json(latency),
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
        test: tuple[float | None, Interval | None] = (None, None)
        try:
            with self._evaluator.target.session() as session:
                path = self._evaluator.artifact_path(evaluation)
                test = self._evaluator.quality(session, path, self._test)
            measurement = self._evaluator.measure_again(evaluation, baseline=baseline, timing=self._timing)
        except StageError as error:
            self.failures.append(Failure.of(error, trial=evaluation.trial))
            return Finalist(test=test[0], test_interval=test[1], latency=None)
        return Finalist(test=test[0], test_interval=test[1], latency=Latency.of(measurement))


def by_contribution(front: list[Evaluation], vectors: Callable[[Evaluation], tuple[float, float, float]]) -> list[Evaluation]:
    """The front in the order in which to look at it: what adds most hypervolume first."""
    value = contributions({item.trial: vectors(item) for item in front})
    return sorted(front, key=lambda item: -value[item.trial])
