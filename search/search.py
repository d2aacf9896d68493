"""The search: what every way of searching shares. It asks, evaluates, tells and writes; a strategy says what
to try next.

`study.py` explains what a kill leaves behind and how it is taken up again.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from optuna.trial import Trial, TrialState

from ..compress.compressor import BuildResult
from ..compress.recipe import Recipe
from ..errors import StageError, TargetUnavailable, TaskError
from ..results.evaluation import Evaluation, Failure, Screened
from ..results.run_directory import RunDirectory
from ..results.views import run_on
from ..results.why import why_json
from .evaluation.evaluate import Evaluator
from .evaluation.further import queued
from .finalists import Finalists, by_contribution
from .result import Result, run_json
from .screen import Screen
from .session.budget import Budget, Ledger
from .session.clock import Clock
from .session.interrupt import Interrupts
from .session.progress import Progress
from .session.status import outcome_line, status_of
from .space.space import SearchSpace
from .study import Correction, SearchStudy, storage_errors

WRITE_EVERY_S = 10.0
LEAST_FINALISTS = 3

RunStatus = Literal["running", "finished", "interrupted"]


class Strategy(Protocol):
    """Decides what a search tries. `Sequential` asks a sampler for one measured candidate after the other,
    `RungSearch` climbs.
    """

    def search(self, search: "Search", interrupted: list[Trial]) -> None:
        """Tries candidates until `search.time_left()` is False; first the trials that a killed session left
        RUNNING.
        """
        ...

    def facts(self, search: "Search") -> dict[str, Any]:
        """What front.json tells of the strategy's own work; may be empty. Ctrl-C may come before `search` was
        called.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """When to stop: `budget_s` seconds over all sessions, `trials` candidates measured or failed; None is no
    limit.
    """

    budget_s: float | None
    trials: int | None


@dataclass(slots=True, kw_only=True)
class Search:
    """A search that is ready to run. `facts` are the unchanging entries of front.json."""

    space: SearchSpace
    study: SearchStudy
    evaluator: Evaluator
    screen: Screen
    result: Result
    finalists: Finalists
    directory: RunDirectory
    clock: Clock
    options: Options
    progress: Progress
    facts: Mapping[str, Any]
    strategy: Strategy
    budget: Budget
    ledger: Ledger
    tried: set[str] = field(default_factory=set)
    _interrupts: Interrupts = field(default_factory=Interrupts)
    _written_at: float = 0.0

    def run(self) -> RunStatus:
        """Searches until the budget is spent, then looks at the finalists; front.json is written in any case.

        Returns `interrupted` after Ctrl-C. Raises TaskError or TargetUnavailable when the original cannot be
        measured, and TargetUnavailable, the run being as after Ctrl-C, when the primary target was away for
        too long.
        """
        status: RunStatus = "interrupted"
        away: TargetUnavailable | None = None
        with storage_errors(self.directory.study), self.clock, self._interrupts:
            try:
                self.strategy.search(self, self._resume())
                self._look_at_finalists()
                self._rebuild()
                status = "finished"
            except KeyboardInterrupt:
                self.progress.note("Interrupted: the same command goes on from here.")
            except TargetUnavailable as error:
                if not self.result.evaluations:
                    raise
                away = error
            self._write(status)
        self.directory.log("ended", status=status, elapsed_s=self.clock.elapsed_s)
        if away is not None:
            told = (
                f"{away} The search stopped; what it found is kept, and the same command goes on from here."
            )
            raise TargetUnavailable(told) from away
        return status

    def _resume(self) -> list[Trial]:
        """Takes up what earlier sessions left; the trials that they did not finish."""
        for evaluation in sorted(self.study.evaluations(), key=lambda item: item.elapsed_s):
            self.tried.add(
                evaluation.recipe.digest
            )  # its parameters may ask for a recovery that the space did not have then
            self.result.evaluations.append(self.finalists.restored(evaluation))
            self.screen.learn(evaluation)
        self.result.known = self.finalists.known
        self._correct()  # what a session killed in the middle of catching up had not told yet
        for trial in self.study.trials:
            if trial.state.is_finished() and trial.user_attrs.get("screened") != "time":
                recipe = self.space.recipe_of(trial.params)
                self.tried.add(recipe.digest)
                if trial.state == TrialState.FAIL:
                    self.screen.learn_failure(recipe, trial.number)
        interrupted = self.study.adopt(self._tell)
        self._catch_up(lambda: True)  # a budget is for candidates: theirs may be spent, and a board be back
        return interrupted

    def _catch_up(self, time_left: Callable[[], bool]) -> None:
        """With several targets: measures candidates where they are missing, the original first."""
        if not (before := queued(self.result.evaluations)):
            return
        try:
            with self.interruptible():
                self.finalists.catch_up(
                    self.result.evaluations, progress=self.progress.stage, time_left=time_left
                )
        finally:
            self._correct()
            self.result.measured_later()
        after = queued(self.result.evaluations)
        for name, count in before.items():
            if (done := count - after.get(name, 0)) > 0:
                self.progress.note(
                    f"{done} queued measurement{'s' if done > 1 else ''} caught up on '{name}'."
                )

    def _correct(self) -> None:
        """Tells the study what was measured later: the values of a candidate are its worst of all targets."""
        result = self.result
        told = {item.trial: item.missing for item in self.study.evaluations()} if result.further else {}
        corrections = [
            Correction(
                evaluation=item, values=result.vector(item), constraints=result.sampler_constraints(item)
            )
            for item in result.evaluations
            if item.trial in told and item.missing != told[item.trial]
        ]
        if corrections:
            self.study.correct(corrections)

    def _tell(self, trial: Trial) -> None:
        """Ends a trial whose evaluation a killed session had stored, but not told."""
        self._complete(trial, Evaluation.from_json(trial.user_attrs["evaluation"]))

    def evaluate(
        self, trial: Trial, recipe: Recipe, *, built: BuildResult | None = None
    ) -> Evaluation | None:
        """Builds (unless it is `built`), measures and tells a candidate; None when it failed, which the study
        knows then.
        """
        self.tried.add(recipe.digest)
        baseline = self.result.evaluations[0] if trial.number > 0 else None
        self.directory.log(
            "started", trial=trial.number, recipe=recipe.to_json(), elapsed_s=self.clock.elapsed_s
        )
        try:
            with self.interruptible():
                outcome = self.evaluator.evaluate(
                    trial.number, recipe, baseline=baseline, progress=self.stage(trial), built=built
                )
        except (KeyboardInterrupt, TargetUnavailable):
            self.study.release(trial)
            raise
        if isinstance(outcome, Failure):
            self.fail(trial, recipe, outcome)
            return None
        self.study.store(trial, outcome)
        self._complete(trial, outcome)
        self.ledger.add_stages(
            {k: v for k, v in outcome.seconds.items() if built is None or k not in built.seconds}
        )
        self._show(outcome)
        if self.evaluator.availability.due():
            self._catch_up(self.time_left)
        return outcome

    def screened_again(self, trial: Trial, recipe: Recipe) -> bool:
        """Whether an interrupted trial's recipe was tried, which ends it: a recovery, continued without
        recovery.
        """
        known = recipe.digest in self.tried
        if known:
            self.study.screen(
                trial, Screened(reason="duplicate", message="the same recipe as an earlier trial")
            )
        return known

    def _complete(self, trial: Trial, evaluation: Evaluation) -> None:
        self.tried.add(evaluation.recipe.digest)
        self.result.evaluations.append(evaluation)
        self.screen.learn(evaluation)
        constraints = self.result.sampler_constraints(evaluation)
        self.study.finish(trial, values=self.result.vector(evaluation), constraints=constraints)

    def fail(self, trial: Trial, recipe: Recipe, failure: Failure) -> None:
        """Ends a trial without a measurement. TaskError or TargetUnavailable when it is the original model."""
        if trial.number == 0:
            self.study.release(trial)
            told = f"The original model cannot be measured, {failure.stage} failed: {failure.message}"
            raise (
                TargetUnavailable(told) if failure.kind in ("noisy", "device", "timeout") else TaskError(told)
            )
        self.study.fail(trial, failure)
        self.screen.learn_failure(recipe, trial.number)
        self._show(failure)

    def interruptible(self) -> AbstractContextManager[None]:
        """A block that Ctrl-C may end."""
        return self._interrupts.allowed()

    def _look_at_finalists(self) -> None:
        """The longer look at the original, the front and uniform int8; again while that changes the front."""
        self.evaluator.availability.ask_all()
        self._catch_up(self._finalist_time_left)
        for _ in range(3):
            order = self._shown()
            with self.interruptible(), self.ledger.timed("finalists"):
                looked = self.finalists.look_at(
                    order,
                    baseline=self.result.baseline,
                    progress=self.progress.stage,
                    time_left=self._finalist_time_left,
                )
            if not looked:
                return

    def _shown(self) -> list[Evaluation]:
        """What `verify` and bundles read the files of: the original, the fronts, what adds most first, and
        uniform int8.
        """
        front = [*by_contribution(self.result.front(), self.result.vector), *self.result.of_one_target()]
        uniform = self.result.uniform_int8
        return [self.result.baseline, *front, *([uniform] if uniform else [])]

    def _rebuild(self) -> None:
        """Builds files again that somebody deleted."""
        for evaluation, target in (
            (shown, target) for shown in self._shown() for target in (None, *self.result.further)
        ):
            seen = evaluation.on(target)
            if seen is None or (self.directory.path / seen.artifact.file).is_file():
                continue
            self.progress.stage(f"trial {seen.trial}: its file is gone, building it again")
            try:
                with self.interruptible():
                    same = self.evaluator.artifact_path(seen).name == Path(seen.artifact.file).name
            except StageError as error:
                self.progress.note(
                    f"The file of trial {seen.trial} is gone and cannot be built again: {error}"
                )
            else:
                if not same:
                    self.progress.note(
                        f"The file of trial {seen.trial} is gone, and what is built now is another: use --fresh."
                    )

    def stage(self, trial: Trial) -> Any:
        """A callback that shows what is done with a trial."""
        return lambda text: self.progress.stage(f"trial {trial.number}: {text}")

    def time_left(self) -> bool:
        """Whether another candidate may be tried."""
        trials, done = self.options.trials, len(self.result.evaluations) + len(self.study.failures())
        return (trials is None or done < trials) and (self.left_s() > 0 or not self.result.evaluations)

    def left_s(self) -> float:
        """Seconds left for candidates."""
        return 1e9 if self.budget.search_s is None else self.budget.search_s - self.clock.elapsed_s

    def _finalist_time_left(self) -> bool:
        budget = self.options.budget_s
        return budget is None or self.clock.elapsed_s < budget or len(self.finalists.known) < LEAST_FINALISTS

    def _show(self, outcome: Evaluation | Failure) -> None:
        failed, screened = len(self.study.failures()), self.study.screened_count()
        options, elapsed_s = self.options, self.clock.elapsed_s
        status = status_of(
            self.result,
            failed=failed,
            screened=screened,
            elapsed_s=elapsed_s,
            budget_s=options.budget_s,
            trials=options.trials,
            front=self.result.front(),
            time=self.ledger.to_json(),
        )
        self.progress.finished(outcome_line(outcome, self.result), status)
        self.directory.log(
            "finished", trial=outcome.trial, elapsed_s=elapsed_s, failed=isinstance(outcome, Failure)
        )
        if time.monotonic() - self._written_at > WRITE_EVERY_S:
            self._write("running")

    def _targets(self) -> dict[str, Any]:
        """With several targets, the entries `targets` and `queued` of front.json; what is away still is in
        the latter only.
        """
        if "targets" not in self.facts:
            return {}
        waiting = queued(self.result.evaluations)
        earlier = {
            facts["name"]: facts["environment"]
            for facts in (self.directory.read_json("front.json") or {}).get("targets", [])
        }
        now = {
            t.profile.name: t.environment.to_json()
            for t in self.evaluator.further
            if t.environment is not None
        }
        found = [
            {**facts, "environment": now.get(name) or facts["environment"] or earlier.get(name)}
            for facts in self.facts["targets"]
            if (name := facts["name"]) in (self.result.target, *self.result.present)
        ]
        reasons = {name: self.evaluator.availability.reason(name) for name in waiting}
        return {
            "targets": found,
            "queued": {name: {"count": n, "reason": reasons[name]} for name, n in waiting.items()},
        }

    def _write(self, status: RunStatus) -> None:
        """Writes front.json, once the original was measured."""
        if self.result.evaluations:
            value = run_json(
                self.result,
                {**self.facts, **self._targets(), **self.strategy.facts(self), "time": self.ledger.to_json()},
                failures=[*self.study.failures(), *self.finalists.failures],
                screened=self.study.screened_count(),
                status=status,
                elapsed_s=self.clock.elapsed_s,
            )
            self.directory.write_json("front.json", {**value, "why": why_json(run_on(value, None))})
            self._written_at = time.monotonic()
