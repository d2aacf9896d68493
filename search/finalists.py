"""Finalists: points of the front, measured longer in fresh processes, timed by layer, and scored once on the
test split.

What was found is kept in `finalists.json` by `look_key`: a continued search never looks at an artifact twice.
With several targets each is looked at on all of them; `further.json` has what was measured later where a
candidate was missing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import StageError, TargetUnavailable
from ..profiles import FINALIST_TIMING, TimingConfig
from ..results.evaluation import Evaluation, Failure, Interval, Latency, OnTarget
from ..results.front import contributions
from ..results.run_directory import RunDirectory
from ..targets.layer_times import LayerTimes
from .evaluation.availability import is_away
from .evaluation.evaluate import Evaluator, Progress, StoredSplit
from .evaluation.further import answers_key, caught_up, missing_again
from .evaluation.predicted import PredictedTarget

_FILE = "finalists.json"
_CAUGHT_UP = "further.json"


def look_key(digest: str, target: str | None) -> str:
    """The key of a final look: the artifact's digest, and on a further target its name (None: the primary
    one).
    """
    return digest if target is None else f"{digest}@{target}"


def looks_on(known: Mapping[str, "Finalist"], target: str | None) -> dict[str, "Finalist"]:
    """The looks on one target, by digest."""
    split = ((*key.partition("@")[::2], look) for key, look in known.items())
    return {digest: look for digest, found, look in split if found == (target or "")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """What the final look at an artifact said; `latency` and `times` are None when measuring failed, or is
    not possible.
    """

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
    """The final looks of a run, by `look_key`; written to the run directory after each."""

    def __init__(self, directory: RunDirectory, evaluator: Evaluator, test: StoredSplit, *, batch: int):
        self._directory = directory
        self._evaluator = evaluator
        self._test = test
        self._timing: TimingConfig = FINALIST_TIMING.with_batch(batch)
        stored = directory.read_json(_FILE) or {}
        self.known = {digest: Finalist.from_json(value) for digest, value in stored.items()}
        self.failures: list[Failure] = []
        self._caught_up: dict[str, Any] = directory.read_json(_CAUGHT_UP) or {}

    def restored(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with what was measured later where it was missing."""
        later = {
            name: OnTarget.from_json(seen)
            for name, seen in self._caught_up.get(str(evaluation.trial), {}).items()
        }
        return replace(evaluation, further={**evaluation.further, **later}) if later else evaluation

    def catch_up(
        self, evaluations: list[Evaluation], *, progress: Progress, time_left: Callable[[], bool]
    ) -> None:
        """Measures candidates where they are missing for a reason that may have passed, in place, until the
        time is over.

        The original comes first. A target that turns out to be away is not asked for the others.
        """
        for index, evaluation in enumerate(evaluations):
            if missing_again(evaluation):
                if not time_left():
                    return
                baseline = None if index == 0 else evaluations[0]
                again = caught_up(self._evaluator, evaluation, baseline=baseline, progress=progress)
                evaluations[index] = again
                settled = [name for name in missing_again(evaluation) if name not in missing_again(again)]
                found = {name: again.further[name].to_json() for name in settled}
                if found:
                    self._caught_up[str(evaluation.trial)] = {
                        **self._caught_up.get(str(evaluation.trial), {}),
                        **found,
                    }
                    self._directory.write_json(_CAUGHT_UP, self._caught_up)

    def look_at(
        self,
        evaluations: Iterable[Evaluation],
        *,
        baseline: Evaluation,
        progress: Progress,
        time_left: Callable[[], bool],
    ) -> bool:
        """Looks at each evaluation that was not yet looked at, until the time is over; whether it looked at
        any.
        """
        looked = False
        for evaluation, target in (
            (evaluation, target) for evaluation in evaluations for target in self._targets
        ):
            seen, original = evaluation.on(target), baseline.on(target)
            if seen is None or original is None or look_key(seen.artifact.digest, target) in self.known:
                continue
            if target and not self._evaluator.availability.may_ask(target):
                continue
            if not time_left():
                break
            progress(f"finalist: trial {evaluation.trial}" + (f" on {target}" if target else ""))
            if (look := self._look(seen, original, target, progress)) is None:
                continue
            self.known[look_key(seen.artifact.digest, target)] = look
            self._directory.write_json(_FILE, {key: item.to_json() for key, item in self.known.items()})
            looked = True
        return looked

    @property
    def _targets(self) -> list[str | None]:
        """None for the primary one, then the further ones by name."""
        return [None, *(target.profile.name for target in self._evaluator.further)]

    def _look(
        self, evaluation: Evaluation, baseline: Evaluation, target: str | None, progress: Progress
    ) -> Finalist | None:
        """The look; None when the target is away, so that a later session looks. The primary one is waited
        for.
        """
        evaluator = self._evaluator if target is None else self._evaluator.on(target)
        scored = self._scored(evaluator, evaluation.artifact.digest) if target else None

        def look() -> tuple[Finalist, Failure | None]:
            return final_look(
                evaluator, evaluation, baseline=baseline, test=self._test, timing=self._timing, scored=scored
            )

        try:
            if target is None:
                finalist, failure = evaluator.patience.until_back(
                    look, name=evaluator.target.profile.name, say=progress
                )
            else:
                finalist, failure = look()
        except (StageError, TargetUnavailable) as error:
            if target is None:
                raise
            evaluator.availability.gone(target, str(error))
            return None
        self.failures += [failure] if failure else []
        return finalist

    def _scored(self, evaluator: Evaluator, digest: str) -> Finalist | None:
        """The look at the same file on the primary target, when that gives the same answers: a file is scored
        once.
        """
        primary, look = self._evaluator.target, self.known.get(digest)
        same = answers_key(primary, digest) == answers_key(evaluator.target, digest)
        return look if same and look is not None and look.test is not None else None


def final_look(
    evaluator: Evaluator,
    evaluation: Evaluation,
    *,
    baseline: Evaluation,
    test: StoredSplit,
    timing: TimingConfig,
    scored: Finalist | None = None,
) -> tuple[Finalist, Failure | None]:
    """The test split's score, a longer measurement and the times by layer; what came before a failure, and
    the failure.

    On a predicted target there is nothing to measure: the score is all. A target that is away is no failure
    of the candidate: that error is raised. `scored` is a look whose score on the test split is taken over.
    """
    finalist = Finalist(test=None, test_interval=None, latency=None)
    if scored is not None:
        finalist = replace(finalist, test=scored.test, test_interval=scored.test_interval)
    try:
        path = evaluator.artifact_path(evaluation)
        if scored is None:
            with evaluator.target.session() as session:
                value, interval = evaluator.quality(session, path, test)
                finalist = replace(finalist, test=value, test_interval=interval)
        if isinstance(evaluator.target, PredictedTarget):
            return finalist, None
        measurement = evaluator.measure_again(evaluation, baseline=baseline, timing=timing)
        finalist = replace(finalist, latency=Latency.of(measurement))
        names = [layer.name for layer in evaluator.network.layers]
        with evaluator.target.session() as session:
            finalist = replace(finalist, times=session.profile_layers(path, names, batch=timing.batch))
    except StageError as error:
        if is_away(error):
            raise
        return finalist, Failure.of(error, trial=evaluation.trial)
    return finalist, None


def by_contribution(
    front: list[Evaluation], vectors: Callable[[Evaluation], tuple[float, float, float]]
) -> list[Evaluation]:
    """The front in the order in which to look at it: what adds most hypervolume first."""
    value = contributions({item.trial: vectors(item) for item in front})
    return sorted(front, key=lambda item: -value[item.trial])
