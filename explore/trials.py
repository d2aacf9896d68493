"""Trials: what a strategy may do in a search: ask for trials, have them measured, see what came of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from ..compress.compressor import BuildResult
from ..compress.recipe import Recipe
from ..errors import AutocompressError, OutOfTime, TargetUnavailable, TaskError
from ..evaluation.evaluate import Evaluator
from ..evaluation.originals import Originals
from ..results.activity import Activity
from ..results.records.point import Failure, Point
from ..results.records.progress import SearchFacts, Stopped
from ..results.records.run import Run
from ..results.run_directory import RunDirectory
from .queue import Queue
from .run_writer import RunWriter
from .screen import FrontRace, Screen, Screened
from .session.budget import Budget, Ledger, look_s
from .session.clock import Clock
from .session.interrupt import Interrupts
from .session.progress import Progress, Status
from .session.status import outcome_line, status_of
from .space.space import Parameters, SearchSpace
from .state import SearchState
from .study import SearchStudy

OVERTIME = 0.03  # of the budget: a candidate that was begun may end
IN_TURNS_SHARE = 0.05  # of the budget, for timing the original in several runtimes, twice
YARDSTICK = 1  # the trial of uniform int8, after the original
INT8_PAYS = 0.95  # uniform int8 has at most this latency ratio
UNCERTAIN = frozenset({"noisy", "device", "timeout"})  # kinds of failures that another hour may not see


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """When to stop: `budget_s` seconds over all sessions, `trials` candidates measured or failed; None is no
    limit. `finalists`: whether they are looked at longer. `deterministic`: no clock decides what is tried.
    `racing`: whether a candidate is validated only as long as it could join the front.
    """

    budget_s: float | None
    trials: int | None
    finalists: bool = True
    deterministic: bool = False
    racing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """The trials of a search, for its strategy. `tried` are the digests of all recipes so far, `set_aside`
    the trials that wait until the others are done (interruptions.py).
    """

    space: SearchSpace
    study: SearchStudy
    state: SearchState
    evaluator: Evaluator
    screen: Screen
    queue: Queue
    directory: RunDirectory
    writer: RunWriter
    clock: Clock
    options: Options
    budget: Budget
    ledger: Ledger
    progress: Progress
    interrupts: Interrupts
    originals: Originals | None = None
    tried: set[str] = field(default_factory=set)
    set_aside: list[Trial] = field(default_factory=list)

    # --- what there is

    @property
    def run(self) -> Run:
        """What was measured so far, as the strategy goes by it; there must be something."""
        return self.state.judged

    @property
    def points(self) -> Sequence[Point]:
        """The measured candidates, in order of their ends; empty before the original is measured."""
        return self.run.points if self.state.points else ()

    @property
    def int8_pays(self) -> bool:
        """Whether uniform int8 is faster than the original, as far as that is known."""
        uniform = self.run.uniform_int8 if self.points else None
        return uniform is None or self.run.vector(uniform)[2] < INT8_PAYS

    @property
    def records(self) -> Sequence[FrozenTrial]:
        """All trials, in order of their numbers; not to be changed."""
        return self.study.trials

    def failed_recipes(self) -> Iterator[Recipe]:
        """The recipes of the trials that failed."""
        for trial in self.records:
            if trial.state == TrialState.FAIL and trial.params:
                yield self.space.recipe_of(trial.params)

    @property
    def elapsed_s(self) -> float:
        """Seconds of all sessions together."""
        return self.clock.elapsed_s

    def left_s(self) -> float:
        """Seconds left for candidates."""
        end_s = self.budget.candidates_s(look_s(self.state.points))
        return 1e9 if end_s is None else end_s - self.elapsed_s

    def time_left(self, *, more: int = 0) -> bool:
        """Whether another candidate may be tried, besides `more` that are in work."""
        trials, done = self.options.trials, len(self.state.points) + len(self.state.failures)
        done += len(self.state.stopped)
        done += len(self.set_aside) + more
        return (trials is None or done < trials) and (self.left_s() > 0 or not self.state.points)

    def another_fits(self) -> bool:
        """Whether one more candidate without recovery is expected to end in time, by those so far."""
        needed_s = self.screen.seconds(Recipe())
        return needed_s is None or needed_s <= self.left_s()

    def require_time(self) -> None:
        """Raises OutOfTime when the time for candidates was over a while ago."""
        if self.state.points and self.left_s() < -OVERTIME * (self.budget.total_s or 0.0):
            raise OutOfTime("The time for candidates is over.")

    # --- asking and telling

    def use_sampler(self, sampler: BaseSampler) -> None:
        """Draws the parameters of later trials from this sampler."""
        self.study.use_sampler(sampler)

    def ask(self, parameters: Parameters | None = None) -> tuple[Trial, Recipe]:
        """The next trial, from the sampler or with these parameters; one that a killed session had queued
        comes before.
        """
        trial = self.study.ask(parameters)
        recipe = self.space.suggest(trial)
        self.study.drawn(trial)
        return trial, recipe

    def evaluate(self, trial: Trial, recipe: Recipe, *, built: BuildResult | None = None) -> Point | None:
        """Builds (unless it is `built`), measures and tells a candidate; None when it failed, which the study
        knows then.
        """
        self.tried.add(recipe.digest)
        known = self.study.known(trial, recipe)
        if known is not None:
            return self._replay(trial, recipe, known)
        original = self.state.points[0] if trial.number > 0 else None
        self.log("started", trial=trial.number, recipe=recipe.to_json(), elapsed_s=self.elapsed_s)
        try:
            with self.interruptible():
                outcome = self._evaluated(trial, recipe, original, built)
            self._require_certain(outcome)
        except (KeyboardInterrupt, AutocompressError, OSError):
            self.study.release(trial)
            raise
        except Exception as error:
            self.study.accuse(trial, f"{type(error).__name__}: {error}"[:200])
            raise
        if isinstance(outcome, Failure):
            self.fail(trial, recipe, outcome)
            return None
        point = outcome if isinstance(outcome, Point) else self._stop(trial, outcome)
        if isinstance(outcome, Point):
            self.study.store(trial, outcome)
            self.complete(trial, outcome)
        if trial.number == 0:
            self.time_originals()
        stages = outcome.seconds.items()
        beside = built.seconds if built is not None else {}
        self.ledger.add_stages({stage: value for stage, value in stages if stage not in beside})
        self._show(outcome)
        if self.evaluator.availability.due():
            self.queue.catch_up(self.time_left)
        return point

    def _evaluated(
        self, trial: Trial, recipe: Recipe, original: Point | None, built: BuildResult | None
    ) -> Point | Failure | Stopped:
        number, stage = trial.number, self._stage_of(trial)
        if (race := self._race(trial)) is None:
            return self.evaluator.evaluate(number, recipe, baseline=original, progress=stage, built=built)
        return self.evaluator.raced(number, recipe, baseline=original, progress=stage, built=built, race=race)

    def _race(self, trial: Trial) -> FrontRace | None:
        """What the candidate must beat; None for the original and uniform int8, and where candidates do not
        race.
        """
        racing = self.options.racing and trial.number > YARDSTICK and self.state.points
        return FrontRace(run=self.state.run) if racing else None

    def _stop(self, trial: Trial, stopped: Stopped) -> Point:
        """Ends the trial of a candidate that lost its race; what the strategy goes by."""
        point = self.state.stop(stopped)
        self.tried.add(stopped.recipe.digest)
        self.screen.learn(point)
        self.study.stop(trial, stopped, self.run.vector(point))
        return point

    def _replay(self, trial: Trial, recipe: Recipe, known: Point | Failure) -> Point | None:
        """Tells what an earlier session found out."""
        if isinstance(known, Failure):
            self.study.fail(trial, known)
            self.state.fail(known)
            self.screen.learn_failure(recipe, trial.number)
            return None
        self.study.store(trial, known)
        self.complete(trial, self.queue.restored(known))
        return known

    def _require_certain(self, outcome: Point | Failure | Stopped) -> None:
        """TargetUnavailable where a deterministic search would go on with what only the moment decided."""
        waiting = isinstance(outcome, Point) and outcome.waiting
        uncertain = waiting or (isinstance(outcome, Failure) and outcome.kind in UNCERTAIN)
        if self.options.deterministic and uncertain and outcome.trial > 0:
            why = f": {outcome.message}" if isinstance(outcome, Failure) else "."
            raise TargetUnavailable(
                f"Trial {outcome.trial} could not be measured now, and a deterministic search leaves out no "
                f"candidate because of that{why}"
            )

    def complete(self, trial: Trial, point: Point) -> None:
        """Ends a trial whose point is stored."""
        self.learn(point)
        self.study.finish(trial, self.state.objectives(point))

    def time_originals(self, *, longer: bool = False) -> None:
        """Times the original in all runtimes of a device in turns, where that was not done yet: after the
        first rounds as long as a share of the budget allows.
        """
        if self.originals is None or not self.state.points:
            return
        budget_s, began_s = self.options.budget_s, self.elapsed_s
        end_s = None if budget_s is None else min(budget_s, began_s + IN_TURNS_SHARE * budget_s)
        with self.interruptible():
            timed = self.originals.time(
                self.state.points[0],
                longer=longer,
                progress=self.stage,
                time_left=lambda: end_s is None or self.elapsed_s < end_s,
            )
        if timed:
            self.state.changed()

    def learn(self, point: Point) -> None:
        """Takes note of a measured candidate."""
        self.tried.add(point.recipe.digest)
        self.state.add(point)
        self.screen.learn(point)

    def fail(self, trial: Trial, recipe: Recipe, failure: Failure) -> None:
        """Ends a trial without a measurement. TaskError or TargetUnavailable when it is the original."""
        if trial.number == 0:
            self.study.release(trial)
            text = f"The original model cannot be measured, {failure.stage} failed: {failure.message}"
            if failure.kind in UNCERTAIN:
                raise TargetUnavailable(text)
            raise TaskError(text)
        self.study.fail(trial, failure)
        self.state.fail(failure)
        self.screen.learn_failure(recipe, trial.number)
        self._show(failure)

    def screen_out(self, trial: Trial, screened: Screened) -> None:
        """Ends a trial that is not built."""
        self.study.screen(trial, screened)
        self.state.screened = self.study.screened_count()
        self.log("screened", trial=trial.number, reason=screened.reason, message=screened.message)

    def release(self, trial: Trial) -> None:
        """Leaves a trial to the next session, without counting this attempt."""
        self.study.release(trial)

    def take_up(
        self,
        unfinished: list[Trial],
        measure: Callable[[Trial, Recipe], object],
        *,
        recovered: bool | None = None,
    ) -> None:
        """Has trials of a killed session measured while there is time, and takes them out of `unfinished`.

        `recovered`: only those with recovery, or without. One whose recipe was tried meanwhile ends: a
        recovery that goes on without recovery.
        """
        for trial in list(unfinished):
            recipe = self.space.suggest(trial)
            other = recovered is not None and (recipe.recovery is not None) != recovered
            if other or not self.time_left():
                continue
            unfinished.remove(trial)
            self.study.begin(trial)
            if recipe.digest in self.tried:
                again = Screened(reason="duplicate", message="the same recipe as an earlier trial")
                self.screen_out(trial, again)
            else:
                measure(trial, recipe)

    def try_set_aside(self, time_left: Callable[[], bool]) -> None:
        """Measures the trials that were set aside: uniform int8 in any case, others while there is time."""
        for trial in list(self.set_aside):
            if trial.number > YARDSTICK and not time_left():
                self.note(f"Trial {trial.number} was interrupted again and again; the next session tries it.")
                continue
            self.set_aside.remove(trial)
            self.study.begin(trial)
            self.evaluate(trial, self.space.suggest(trial))

    # --- telling a person and the files

    def tell(self, facts: SearchFacts) -> None:
        """What the strategy tells of its own work, for front.json."""
        self.state.tell(facts)

    def stage(self, text: str) -> None:
        """What is being done now."""
        self.progress.stage(text)

    def note(self, text: str) -> None:
        """Something that a person should read."""
        self.progress.note(text)

    def log(self, event: str, **values: Any) -> None:
        """An event for log.jsonl."""
        self.directory.log(event, **values)

    def timed(self, activity: Activity) -> AbstractContextManager[None]:
        """A block whose time counts for the activity."""
        return self.ledger.timed(activity)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that Ctrl-C may end."""
        with self.interrupts.allowed():
            yield

    def _stage_of(self, trial: Trial) -> Callable[[str], None]:
        return lambda text: self.progress.stage(f"trial {trial.number}: {text}")

    def begin(self) -> None:
        """Shows where the search begins, or goes on."""
        self.progress.began(self._status(None), lambda: self.elapsed_s)

    def _status(self, trial: int | None) -> Status:
        return status_of(
            self.state.run if self.state.points else None,
            elapsed_s=self.elapsed_s,
            budget_s=self.options.budget_s,
            trials=self.options.trials,
            time=self.ledger.to_json(),
            trial=trial,
        )

    def _show(self, outcome: Point | Failure | Stopped) -> None:
        status = self._status(outcome.trial)
        self.progress.finished(outcome_line(outcome, self.state.run), status)
        failed = isinstance(outcome, Failure)
        self.log("finished", trial=outcome.trial, elapsed_s=status.elapsed_s, failed=failed)
        self.writer.write_now_and_then()
