"""Evaluator: builds a candidate once, then has it measured on every target.

A candidate that cannot be built fails. One that cannot be measured on a target is *missing* there and stays
measured on the others; where the reason may pass, it is caught up later (catching_up.py). One that no
target measured fails. The original may be missing only on targets that are away; everything else is missing
there too until it is caught up, since nothing can be compared without it.

Of targets that are alternatives, a candidate is tried on those that a Placing leaves in, and files are
built for these. A runtime that cannot run the original is left out of everything.

A StageError becomes a Failure here; everything else that is raised is a bug or the user's business, and
ends the search.
"""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import partial

from ..compress.compressor import BuildResult
from ..compress.recipe import Recipe
from ..errors import StageError, is_away
from ..results.records.point import Failure, Measured, Outcome, Point
from ..results.records.progress import Stopped
from .availability import Availability, Patience
from .bench import Bench, Candidate, Progress, TargetError
from .paced_training import PacedTraining
from .placing import Placing
from .predicted import AnyTarget
from .racing import Beaten, Lost, Race
from .targets import format_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Evaluates candidates of one run on one target or more. `elapsed` tells the run's time in seconds. With
    a `placing` the targets are alternatives.
    """

    bench: Bench
    elapsed: Callable[[], float]
    patience: Patience = field(default_factory=Patience)
    placing: Placing | None = None

    @property
    def targets(self) -> tuple[AnyTarget, ...]:
        """All targets of the run, in the user's order."""
        return self.bench.targets

    @property
    def availability(self) -> Availability:
        """Which of them are away."""
        return self.bench.availability

    def close(self) -> None:
        """Ends the connections to boards; the next use connects again."""
        for target in self.targets:
            target.close()

    def target(self, name: str) -> AnyTarget:
        """The target of this name."""
        return next(target for target in self.targets if target.profile.name == name)

    def evaluate(
        self,
        trial: int,
        recipe: Recipe,
        *,
        baseline: Point | None,
        progress: Progress,
        built: BuildResult | None = None,
    ) -> Point | Failure:
        """What comes of the recipe, tried twice when the first failure is transient. `baseline` is None for
        itself.

        `built` is the recipe's artifact where another process made it. When all targets are away, they are
        waited for; TargetUnavailable when none comes back.
        """
        outcome = self.raced(trial, recipe, baseline=baseline, progress=progress, built=built, race=None)
        assert not isinstance(outcome, Stopped)
        return outcome

    def raced(
        self,
        trial: int,
        recipe: Recipe,
        *,
        baseline: Point | None,
        progress: Progress,
        built: BuildResult | None,
        race: Race | None,
    ) -> Point | Failure | Stopped:
        """The same; in a race the candidate is validated no longer than it could join the front."""
        candidate = Candidate(
            trial=trial, recipe=recipe, original=baseline, build=built, outcomes={}, race=race
        )
        try:
            return self._attempt(candidate, progress)
        except StageError as error:
            if not error.retryable:
                return Failure.of(error, trial=trial)
            progress(f"retrying after: {error}")
        try:
            return self._attempt(candidate, progress)
        except StageError as error:
            return Failure.of(error, trial=trial)

    def _attempt(self, candidate: Candidate, progress: Progress) -> Point | Stopped:
        left_out = self._left_out(candidate)
        wanted = [target for target in self.targets if target.profile.name not in left_out]
        if not wanted:
            raise StageError(f"No runtime takes it: {'; '.join(left_out.values())}", stage="build")
        build = candidate.build
        if build is None:
            recipe, artifacts = candidate.recipe, self.bench.artifacts
            formats = None
            if self.placing is not None:
                formats = [*dict.fromkeys(format_of(target.profile) for target in wanted)]
            with PacedTraining(progress) as paced:
                build = self.bench.compressor.build(recipe, artifacts, progress=paced, formats=formats)
        for target in wanted:
            if format_of(target.profile) not in build.by_format:
                left_out[target.profile.name] = f"{target.profile.facts.title} has no operator for it"
        seconds, built = dict(build.seconds), replace(candidate, build=build)
        measure = partial(self._on_all, built, left_out=left_out, seconds=seconds, progress=progress)
        names = ",".join(target.profile.name for target in wanted)
        try:
            outcomes = self.patience.until_back(measure, name=names, say=progress)
        except Beaten as beaten:
            return self._stopped(built, beaten.lost, seconds)
        return Point(
            trial=candidate.trial,
            recipe=candidate.recipe,
            outcomes=outcomes,
            elapsed_s=self.elapsed(),
            seconds=seconds,
            left_out=left_out,
        )

    def _left_out(self, candidate: Candidate) -> dict[str, str]:
        """By target where the candidate is not tried, the reason."""
        if self.placing is None:
            return {}
        of_original = {} if candidate.original is None else candidate.original.left_out
        return {**self.placing.left_out(candidate.recipe), **of_original}

    def _stopped(self, built: Candidate, lost: Lost, seconds: Mapping[str, float]) -> Stopped:
        assert lost.latency is not None
        (target,) = self.targets
        return Stopped(
            trial=built.trial,
            recipe=built.recipe,
            target=target.profile.name,
            artifact=built.artifact(target),
            latency=lost.latency,
            samples=lost.samples,
            of=lost.of,
            drop=lost.drop,
            drop_interval=lost.interval,
            beaten_by=lost.bar.trial,
            elapsed_s=self.elapsed(),
            seconds=seconds,
        )

    def _on_all(
        self,
        candidate: Candidate,
        *,
        left_out: MutableMapping[str, str],
        seconds: MutableMapping[str, float],
        progress: Progress,
    ) -> dict[str, Outcome]:
        """By target, what a built candidate is there. Raises the first error when no target measured it. Of
        alternatives, those that cannot run the original join `left_out`.

        Targets that were away when they were last asked come last, and are asked only when no other measures.
        """
        outcomes: dict[str, Outcome] = {}
        errors: list[TargetError] = []
        for target in sorted(self.targets, key=self._is_away):
            name = target.profile.name
            if name in left_out:
                continue
            settled = _measured(outcomes) or not all(is_away(error) for error in errors)
            if settled and self._is_away(target):
                reason = self.availability.reason(name) or ""
                outcomes[name] = self.bench.queued(target, candidate, reason)
                continue
            outcomes[name], error = self.bench.measured_on(
                target, replace(candidate, outcomes=outcomes), seconds=seconds, progress=progress
            )
            if error is not None and candidate.original is None and not is_away(error):
                if self.placing is None:
                    raise self._of_the_original(error, name)
                if isinstance(error, StageError) and not error.retryable:
                    del outcomes[name]
                    left_out[name] = f"{target.profile.facts.title} cannot run the original model: {error}"
            errors += [] if error is None else [error]
        if not _measured(outcomes):
            raise next((error for error in errors if not is_away(error)), errors[0])
        names = (target.profile.name for target in self.targets)
        return {name: outcomes[name] for name in names if name in outcomes}

    def _is_away(self, target: AnyTarget) -> bool:
        return self.availability.reason(target.profile.name) is not None

    def _of_the_original(self, error: TargetError, target: str) -> TargetError:
        """The error of the original, which names the target where there are several."""
        if len(self.targets) == 1 or not isinstance(error, StageError):
            return error
        return StageError(
            f"on target '{target}': {error}", stage=error.stage, kind=error.kind, retryable=error.retryable
        )


def _measured(outcomes: MutableMapping[str, Outcome]) -> bool:
    return any(isinstance(outcome, Measured) for outcome in outcomes.values())
