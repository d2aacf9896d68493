"""Bench: one candidate on one target. The file is asked for its answers, then measured beside the original.

This is the one place that catches a StageError of a measurement and records it as Missing.
"""

from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..compress.compressor import BuildResult, BuiltFile
from ..compress.options import FileFormat
from ..compress.recipe import Recipe
from ..errors import StageError, TargetUnavailable, is_away
from ..files import digest_of_file
from ..profiles import TimingConfig
from ..results.records.latency import AnyLatency
from ..results.records.point import ArtifactFacts, Failure, Measured, Missing, Outcome, Point
from ..results.records.reading import Interval
from ..targets.pool.boards import Boards
from ..targets.target import TargetSession
from .answers import Answers, Examiner, answers_key, timed
from .availability import Availability
from .predicted import AnyTarget, latency_on
from .racing import Beaten, Race
from .targets import format_of

Progress = Callable[[str], None]
TargetError = StageError | TargetUnavailable


class Builder(Protocol):
    """What measuring needs of a Compressor."""

    def build(
        self,
        recipe: Recipe,
        out_dir: Path,
        *,
        progress: Progress | None = None,
        formats: Collection[FileFormat] | None = None,
    ) -> BuildResult:
        """The artifact of a recipe, in `out_dir`, in all formats or in these. Raises StageError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A candidate on its way over the targets; `outcomes` are those that it has so far.

    `original` is the original model as it was measured, None for itself. Without a `build` the candidate's
    files are looked up, or built again. In a `race` it is measured first, and validated as long as it could
    join the front.
    """

    trial: int
    recipe: Recipe
    original: Point | None
    build: BuildResult | None
    outcomes: Mapping[str, Outcome]
    race: Race | None = None

    def artifact(self, target: AnyTarget) -> ArtifactFacts:
        """Its file on the target."""
        if self.build is None:
            return self.outcomes[target.profile.name].artifact
        return ArtifactFacts.of(built_for(target, self.build).artifact)

    def original_on(self, target: AnyTarget) -> Measured | None:
        """What the original is on the target, None where it is not measured."""
        return None if self.original is None else self.original.measured.get(target.profile.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What measures a candidate on a target. `targets` are all of the run."""

    compressor: Builder
    targets: tuple[AnyTarget, ...]
    examiner: Examiner
    artifacts: Path
    timing: TimingConfig
    availability: Availability

    def measured_on(
        self,
        target: AnyTarget,
        candidate: Candidate,
        *,
        seconds: MutableMapping[str, float],
        progress: Progress,
    ) -> tuple[Outcome, TargetError | None]:
        """What the candidate is on the target, and the error that kept it from being measured, if any. Raises
        Beaten, which has the latency, when it lost its race.

        Where one of several boards is lost, another one goes on: what the candidate answered is known.
        """
        name, tries = target.profile.name, 1
        outcome, error = self._measured_on(target, candidate, seconds=seconds, progress=progress)
        while error is not None and is_away(error) and _another_board(target, tries):
            tries += 1
            answered = replace(candidate, outcomes={**candidate.outcomes, name: outcome})
            outcome, error = self._measured_on(target, answered, seconds=seconds, progress=progress)
        if error is not None and is_away(error):
            self.availability.gone(name, str(error))
        return outcome, error

    def _measured_on(
        self,
        target: AnyTarget,
        candidate: Candidate,
        *,
        seconds: MutableMapping[str, float],
        progress: Progress,
    ) -> tuple[Outcome, TargetError | None]:
        """The same, tried once."""
        name, original = target.profile.name, candidate.original_on(target)
        if candidate.original is not None and original is None:
            reason = self.availability.reason(name)
            text = f"The original is not measured on '{name}' yet" + (f": {reason}" if reason else ".")
            return self.queued(target, candidate, text), None
        answers, where = self._known_answers(target, candidate), self._where(target)
        latency: AnyLatency | None = None
        try:
            path = self.artifact_path(candidate.recipe, candidate.artifact(target))
            reference = path
            if candidate.original is not None and original is not None:
                reference = self.artifact_path(candidate.original.recipe, original.artifact)
            with target.session() as session:
                bar = None
                if candidate.race is not None:
                    progress(f"measuring{where}")
                    latency = self._latency(target, session, candidate.recipe, (path, reference), seconds)
                    bar = candidate.race.bar(candidate.artifact(target), latency)
                if answers is None:
                    progress(f"validating{where}")
                    answers = self.examiner.answers(
                        target,
                        session,
                        self._build(target, candidate),
                        candidate.recipe,
                        original=reference,
                        seconds=seconds,
                        bar=bar,
                    )
                if latency is None:
                    progress(f"measuring{where}")
                    latency = self._latency(target, session, candidate.recipe, (path, reference), seconds)
            self.availability.answered(name)
        except Beaten as beaten:
            raise Beaten(replace(beaten.lost, latency=latency)) from None
        except (StageError, TargetUnavailable) as error:
            return self._missing(target, candidate, answers, error), error
        drop = self._drop(answers, original)
        measured = Measured(
            artifact=candidate.artifact(target),
            quality=answers.quality,
            drop=drop,
            drop_interval=_around(drop, answers.drop_interval),
            latency=latency,
            layers=answers.layers,
        )
        return measured, None

    def queued(self, target: AnyTarget, candidate: Candidate, reason: str) -> Missing:
        """What the candidate is on a target that was not asked."""
        failure = _failure(TargetUnavailable(reason), candidate.trial)
        return Missing(artifact=candidate.artifact(target), failure=failure)

    def artifact_path(self, recipe: Recipe, artifact: ArtifactFacts) -> Path:
        """The file of an artifact, built again when it is gone or damaged. Raises StageError."""
        path = self.artifacts / Path(artifact.file).name
        if not _is_whole(path, artifact):
            self.compressor.build(recipe, self.artifacts)
        if not _is_whole(path, artifact):
            message = f"{path} is gone, and what is built now is another file: use --fresh."
            raise StageError(message, stage="build")
        return path

    def _where(self, target: AnyTarget) -> str:
        return f" on {target.profile.name}" if len(self.targets) > 1 else ""

    def _build(self, target: AnyTarget, candidate: Candidate) -> BuiltFile:
        build = candidate.build or self.compressor.build(candidate.recipe, self.artifacts)
        return built_for(target, build)

    def _latency(
        self,
        target: AnyTarget,
        session: TargetSession,
        recipe: Recipe,
        files: tuple[Path, Path],
        seconds: MutableMapping[str, float],
    ) -> AnyLatency:
        """The latency of the first file beside the second; the timing loop is told apart in `seconds`."""
        (model, baseline), spent = files, dict[str, float]()
        with timed(spent, "measure"):
            latency, loop_s = latency_on(
                target, session, recipe, model=model, baseline=baseline, timing=self.timing
            )
        loop_s = min(loop_s, spent["measure"])
        seconds["timing loop"] = seconds.get("timing loop", 0.0) + loop_s
        seconds["measure"] = seconds.get("measure", 0.0) + spent["measure"] - loop_s
        return latency

    def _known_answers(self, target: AnyTarget, candidate: Candidate) -> Answers | None:
        """What this target or one that answers alike has already answered."""
        wanted = answers_key(target, candidate.artifact(target).digest)
        for other in self.targets:
            outcome = candidate.outcomes.get(other.profile.name)
            if outcome is None or outcome.quality is None:
                continue
            if answers_key(other, outcome.artifact.digest) == wanted:
                return Answers(
                    quality=outcome.quality, layers=outcome.layers, drop_interval=outcome.drop_interval
                )
        return None

    def _missing(
        self, target: AnyTarget, candidate: Candidate, answers: Answers | None, error: TargetError
    ) -> Missing:
        missing = Missing(artifact=candidate.artifact(target), failure=_failure(error, candidate.trial))
        if answers is None:
            return missing
        drop = self._drop(answers, candidate.original_on(target))
        return replace(
            missing,
            quality=answers.quality,
            drop=drop,
            drop_interval=_around(drop, answers.drop_interval),
            layers=answers.layers,
        )

    def _drop(self, answers: Answers, original: Measured | None) -> float:
        if original is None:
            return 0.0
        return self.examiner.metric.drop(answers.quality.validation, baseline=original.quality.validation)


def _another_board(target: AnyTarget, tries: int) -> bool:
    """Whether another of several boards answers; none is asked twice."""
    return isinstance(target, Boards) and tries < target.count and target.others_left


def built_for(target: AnyTarget, build: BuildResult) -> BuiltFile:
    """The part of a build that is for the target: several formats are built at once."""
    return build.of(format_of(target.profile))


def _around(drop: float, interval: Interval | None) -> Interval | None:
    """The interval, widened where the original answered a little differently when it was measured."""
    return None if interval is None else (min(drop, interval[0]), max(drop, interval[1]))


def _is_whole(path: Path, artifact: ArtifactFacts) -> bool:
    return path.is_file() and digest_of_file(path) == artifact.digest


def _failure(error: TargetError, trial: int) -> Failure:
    if isinstance(error, StageError):
        return Failure.of(error, trial=trial)
    return Failure(trial=trial, stage="measure", kind="device", message=str(error), retryable=True)
