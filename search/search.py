"""The search: original, uniform int8, first candidates, then the sampler; at the end the finalists.

Every trial is asked, judged by the screen, evaluated and told, one after the other. `study.py` explains what a kill leaves
behind and how it is taken up again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.trial import FixedTrial, Trial, TrialState

from ..compress.recipe import Recipe
from ..errors import TargetUnavailable, TaskError
from .clock import Clock
from .evaluate import Evaluator
from .evaluation import Evaluation, Failure
from .finalists import Finalists, by_contribution
from .interrupt import Interrupts
from .progress import Progress
from .result import Result, run_json
from .run_directory import RunDirectory
from .screen import Screen
from .seeds import first_recipes
from .space import SearchSpace
from .status import outcome_line, status_of
from .study import SearchStudy, storage_errors

SEARCH_SHARE = 0.85  # of the budget; the rest is for the finalists
WRITE_EVERY_S = 10.0
MAX_SCREENED = 200  # in a row: the space is exhausted
MAX_OUT_OF_TIME = 20  # in a row: nothing that the sampler wants fits into the time left
LEAST_FINALISTS = 3
INT8_PAYS = 0.95  # uniform int8 has at most this latency ratio

RunStatus = Literal["running", "finished", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """When to stop: `budget_s` seconds over all sessions, `trials` candidates measured or failed; None is no limit."""

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
    _interrupts: Interrupts = field(default_factory=Interrupts)
    _tried: set[str] = field(default_factory=set)
    _written_at: float = 0.0

    def run(self) -> RunStatus:
        """Searches until the budget is spent, then looks at the finalists; front.json is written in any case.

        Returns `interrupted` after Ctrl-C. Raises TaskError or TargetUnavailable when the original cannot be measured.
        """
        status: RunStatus = "interrupted"
        with storage_errors(self.directory.study), self.clock, self._interrupts:
            try:
                self._resume()
                self._search()
                self._look_at_finalists()
                status = "finished"
            except KeyboardInterrupt:
                self.progress.note("Interrupted: the same command goes on from here.")
            self._write(status)
        self.directory.log("ended", status=status, elapsed_s=self.clock.elapsed_s)
        return status

    def _resume(self) -> None:
        """Takes up what earlier sessions left."""
        for evaluation in self.study.evaluations():
            self.result.evaluations.append(self.finalists.restored(evaluation))
            self.screen.learn(evaluation)
        self.result.known = self.finalists.known
        for trial in self.study.trials:
            if trial.state.is_finished() and trial.user_attrs.get("screened") != "time":
                recipe = self.space.suggest(FixedTrial(trial.params))
                self._tried.add(recipe.digest)
                if trial.state == TrialState.FAIL:
                    self.screen.learn_failure(recipe, trial.number)
        if (interrupted := self.study.adopt(self._tell)) is not None and self._time_left():
            self._evaluate(interrupted, self.space.suggest(interrupted))
        self._catch_up(self._time_left)

    def _catch_up(self, time_left: Callable[[], bool]) -> None:
        """With several targets: measures candidates where they are missing."""
        with self._interrupts.allowed():
            self.finalists.catch_up(self.result.evaluations, progress=self.progress.stage, time_left=time_left)

    def _tell(self, trial: Trial) -> None:
        """Ends a trial whose evaluation a killed session had stored, but not told."""
        self._complete(trial, Evaluation.from_json(trial.user_attrs["evaluation"]))

    def _search(self) -> None:
        screened, out_of_time = 0, 0
        while self._time_left() and screened < MAX_SCREENED and out_of_time < MAX_OUT_OF_TIME:
            seed = self._next_seed()
            trial = self.study.ask(self.space.parameters(seed) if seed else None)
            recipe = self.space.suggest(trial)
            self._tried.add(recipe.digest)
            verdict = self.screen.judge(recipe, left_s=self._left_s()) if trial.number > 1 else None
            if verdict is None:
                screened = out_of_time = 0
                self._evaluate(trial, recipe)
                continue
            self.study.screen(trial, verdict)
            self.directory.log("screened", trial=trial.number, reason=verdict.reason, message=verdict.message)
            screened += 1
            out_of_time += verdict.reason == "time"
        if screened == MAX_SCREENED:
            self.progress.note("Everything that the sampler proposes was tried or is out of the limits: the search ends.")

    def _next_seed(self) -> Recipe | None:
        """The next of the first candidates, None when all were tried."""
        uniform = self.result.uniform_int8
        recipes = first_recipes(self.space, int8_pays=uniform is None or uniform.latency.ratio < INT8_PAYS)
        return next((recipe for recipe in recipes if recipe.digest not in self._tried), None)

    def _evaluate(self, trial: Trial, recipe: Recipe) -> None:
        self._tried.add(recipe.digest)
        baseline = self.result.evaluations[0] if trial.number > 0 else None
        self.directory.log("started", trial=trial.number, recipe=recipe.to_json(), elapsed_s=self.clock.elapsed_s)
        try:
            with self._interrupts.allowed():
                outcome = self.evaluator.evaluate(trial.number, recipe, baseline=baseline, progress=self._stage(trial))
        except KeyboardInterrupt:
            self.study.release(trial)
            raise
        if isinstance(outcome, Evaluation):
            self.study.store(trial, outcome)
            self._complete(trial, outcome)
        else:
            self._fail(trial, recipe, outcome)
        self._show(outcome)

    def _complete(self, trial: Trial, evaluation: Evaluation) -> None:
        self.result.evaluations.append(evaluation)
        self.screen.learn(evaluation)
        constraints = self.result.sampler_constraints(evaluation)
        self.study.finish(trial, values=self.result.vector(evaluation), constraints=constraints)

    def _fail(self, trial: Trial, recipe: Recipe, failure: Failure) -> None:
        if trial.number == 0:
            self.study.release(trial)
            told = f"The original model cannot be measured, {failure.stage} failed: {failure.message}"
            raise TargetUnavailable(told) if failure.kind in ("noisy", "device", "timeout") else TaskError(told)
        self.study.fail(trial, failure)
        self.screen.learn_failure(recipe, trial.number)

    def _look_at_finalists(self) -> None:
        """The longer look at the original, the front and uniform int8; again while that changes the front."""
        self._catch_up(self._finalist_time_left)
        for _ in range(3):
            front = [*by_contribution(self.result.front(), self.result.vector), *self.result.of_one_target()]
            uniform = self.result.uniform_int8
            order = [self.result.baseline, *front, *([uniform] if uniform else [])]
            with self._interrupts.allowed():
                looked = self.finalists.look_at(
                    order, baseline=self.result.baseline, progress=self.progress.stage, time_left=self._finalist_time_left
                )
            if not looked:
                return

    def _stage(self, trial: Trial) -> Any:
        return lambda text: self.progress.stage(f"trial {trial.number}: {text}")

    def _time_left(self) -> bool:
        trials, done = self.options.trials, len(self.result.evaluations) + len(self.study.failures())
        return (trials is None or done < trials) and (self._left_s() > 0 or not self.result.evaluations)

    def _left_s(self) -> float:
        """Seconds left for candidates."""
        budget = self.options.budget_s
        return 1e9 if budget is None else SEARCH_SHARE * budget - self.clock.elapsed_s

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
        )
        self.progress.finished(outcome_line(outcome, self.result), status)
        self.directory.log("finished", trial=outcome.trial, elapsed_s=elapsed_s, failed=isinstance(outcome, Failure))
        if time.monotonic() - self._written_at > WRITE_EVERY_S:
            self._write("running")

    def _write(self, status: RunStatus) -> None:
        """Writes front.json, once the original was measured."""
        if self.result.evaluations:
            value = run_json(
                self.result,
                self.facts,
                failures=[*self.study.failures(), *self.finalists.failures],
                screened=self.study.screened_count(),
                status=status,
                elapsed_s=self.clock.elapsed_s,
            )
            self.directory.write_json("front.json", value)
            self._written_at = time.monotonic()
