"""Rungs r2 and r3: which measured candidate is trained next, for how long, here or in a process beside the
search.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from optuna.trial import Trial, TrialState

from ...compress.recipe import Recipe
from ...errors import StageError
from ...results.evaluation import Evaluation, Failure, Screened
from ..search import Search
from ..space.space import DEFAULT_RECOVERY, STEPS
from .promotion import LOW_CORRELATION, RecoveryCurve, promoted, rank_correlation
from .recovery_process import RecoveryProcess

LATE = 0.6  # of the time: from here on recoveries are long
FIRST_SETTINGS = 8  # recoveries with the settings known to be good, before TPE varies them
SHORT_SHARE, LONG_SHARE = 0.08, 0.35  # of the time for recovery, that one may take
GRACE_SHARE = 0.03  # of the budget, in which a recovery beside the search may still end
TRIALS_PER_RECOVERY = 4  # where only the number of trials ends the search
LONGER_EVERY = 3  # of these recoveries one is longer
MAX_FAILURES = 3  # while none succeeded: then the task cannot be trained here


@dataclass(slots=True, kw_only=True)
class Recoveries:
    """The recoveries of a search. `measure` evaluates a trial here, `learn` hears of those that were trained
    beside it.
    """

    search: Search
    measure: Callable[[Trial, Recipe], None]
    learn: Callable[[Evaluation], None]
    background: RecoveryProcess | None = None
    _beside: tuple[Trial, Recipe] | None = None
    _beside_since_s: float = 0.0
    _began_s: float = 0.0
    _turns: int = 0
    _nothing_at: tuple[int, int, int] | None = None
    _gave_up: bool = False

    def begin(self) -> None:
        """From now on the time for recovery runs."""
        self._began_s = self.search.clock.elapsed_s

    @property
    def busy(self) -> bool:
        """Whether one goes on beside the search."""
        return self._beside is not None

    def release(self) -> None:
        """Leaves what goes on beside to the next session: Ctrl-C."""
        if self._beside is not None:
            self.search.study.release(self._beside[0])

    # --- which one, and when

    def start(self, *, due: bool = False) -> bool:
        """Trains the candidate that is expected to gain most by it; False when that is not due yet, nothing
        or no time is left.

        With `due` it is due in any case: there is nothing else to do.
        """
        search = self.search
        if self.busy or not self._possible() or not (due or self._due()):
            return False
        steps = self._steps()
        best = None if steps is None else self._most_worth(steps)
        if best is None or steps is None:
            return False
        parameters = {**search.space.parameters(best.recipe), "recover": 1, "steps": STEPS.index(steps)}
        if len(self._recovered) < FIRST_SETTINGS:
            parameters = search.space.parameters(
                replace(best.recipe, recovery=replace(DEFAULT_RECOVERY, steps=steps))
            )
        self._turns += 1
        trial = search.study.ask(parameters)
        self.recover(trial, search.space.suggest(trial))
        return True

    @property
    def _recovered(self) -> list[Evaluation]:
        return [item for item in self.search.result.evaluations if item.recipe.recovery is not None]

    def _failures(self) -> Counter[str]:
        """How often the recovery of a candidate failed, by its digest without recovery; over all sessions."""
        search, found = self.search, Counter[str]()
        for trial in search.study.trials:
            if trial.state == TrialState.FAIL and "steps" in trial.params:
                recipe = search.space.recipe_of(trial.params)
                if recipe.recovery is not None:
                    found[bare(recipe).digest] += 1
        return found

    def _possible(self) -> bool:
        """Whether the space has recovery, and it does not fail every time."""
        if not self.search.space.recovery or self._gave_up:
            return False
        count = self._failures().total()
        self._gave_up = count >= MAX_FAILURES and not self._recovered
        if self._gave_up:
            self.search.progress.note(
                f"Note: {count} recoveries failed and none succeeded: no more are tried."
            )
        return not self._gave_up

    def _due(self) -> bool:
        """Whether the time for recovery that has passed so far is not used up."""
        search = self.search
        if self.background is not None:
            return True
        if search.budget.search_s is None or search.budget.recovery_s is None:
            count = len(self._recovered)
            return (count + self._failures().total()) * TRIALS_PER_RECOVERY < len(
                search.result.evaluations
            ) - count - 2
        passed = (search.clock.elapsed_s - self._began_s) / max(1.0, search.budget.search_s - self._began_s)
        return search.ledger.spent_s("recovery") < passed * search.budget.recovery_s

    def _steps(self) -> int | None:
        """How long the next recovery trains: as long as its share of the time allows; None when no training
        fits any more.
        """
        search = self.search
        if search.budget.search_s is None:
            return STEPS[2] if len(self._recovered) % LONGER_EVERY == LONGER_EVERY - 1 else STEPS[1]
        step_s = search.screen.step_s
        if step_s is None:
            return STEPS[0]
        left_s = search.left_s()
        whole_s = search.budget.search_s if self.background is not None else search.budget.recovery_s or 0.0
        late = search.clock.elapsed_s > LATE * search.budget.search_s
        longest_s = LONG_SHARE * whole_s if late else SHORT_SHARE * whole_s * (2 if self._poor() else 1)
        fitting = [
            steps for steps in STEPS if steps * step_s <= min(max(longest_s, STEPS[0] * step_s), left_s)
        ]
        return fitting[-1] if fitting else None

    def _most_worth(self, steps: int) -> Evaluation | None:
        """The measured candidate that is expected to add most when it is trained for so long, bands of
        latency taking turns.
        """
        search, result, failures = self.search, self.search.result, self._failures()
        state = (len(result.evaluations), failures.total(), steps)
        if state == self._nothing_at:  # nothing was learned since
            return None
        done = self._done()
        candidates = [
            item
            for item in result.evaluations[1:]
            if item.recipe.recovery is None
            and item.recipe.digest not in failures
            and done.get(item.recipe.digest, 0) < steps
            and result.affordable(item)
        ]
        curve, vectors = self._curve(), [result.vector(item) for item in candidates]
        expected = [(curve.after(drop, steps), size, latency) for drop, size, latency in vectors]
        chosen = promoted(expected, [result.vector(item) for item in result.feasible()], turn=self._turns)
        search.directory.log(
            "recovery", steps=steps, candidate=None if chosen is None else candidates[chosen].trial
        )
        self._nothing_at = state if chosen is None else None
        return None if chosen is None else candidates[chosen]

    def _done(self) -> dict[str, int]:
        """The most steps that a candidate was trained for, by its digest without recovery."""
        done: dict[str, int] = {}
        for item in self._recovered:
            assert item.recipe.recovery is not None
            digest = bare(item.recipe).digest
            done[digest] = max(done.get(digest, 0), item.recipe.recovery.steps)
        return done

    # --- training and measuring

    def recover(self, trial: Trial, recipe: Recipe) -> None:
        """Trains and measures here, or begins to train beside the search."""
        search, start_s = self.search, self.search.clock.elapsed_s
        if self.background is not None and not self.busy and recipe.recovery is not None:
            search.tried.add(recipe.digest)
            self._beside, self._beside_since_s = (trial, recipe), start_s
            self.background.start(recipe)
            return
        count = len(search.result.evaluations)
        self.measure(trial, recipe)
        if (
            recipe.recovery is not None and len(search.result.evaluations) == count
        ):  # it failed: that took its time as well
            search.ledger.add({"recovery": search.clock.elapsed_s - start_s})

    def collect(self, *, wait_s: float = 0.0) -> None:
        """Measures what was trained beside the search, if it is ready."""
        if self.background is None or self._beside is None:
            return
        search = self.search
        with search.interruptible():
            built = self.background.poll(wait_s=wait_s)
        if built is None:
            return
        (trial, recipe), self._beside = self._beside, None
        if isinstance(built, StageError):
            search.ledger.add_beside({"recover": search.clock.elapsed_s - self._beside_since_s})
            search.fail(trial, recipe, Failure.of(built, trial=trial.number))
            return
        search.ledger.add_beside(built.seconds)
        outcome = search.evaluate(trial, recipe, built=built)
        if outcome is not None:
            self.learn(outcome)

    def finish(self) -> None:
        """Waits a moment for a recovery that is nearly done; one that is not counts as out of time."""
        if self._beside is None or self.background is None:
            return
        search = self.search
        grace_s = 60.0 if search.budget.total_s is None else GRACE_SHARE * search.budget.total_s
        end_s = search.clock.elapsed_s + grace_s
        while self._beside is not None and search.clock.elapsed_s < end_s:
            search.progress.stage(f"waiting for a recovery: {self.background.stage}")
            self.collect(wait_s=0.5)
        if self._beside is not None:
            trial, _ = self._beside
            self.background.cancel()
            self._beside = None
            search.study.screen(trial, Screened(reason="time", message="its recovery did not end in time"))

    # --- what they do

    def _curve(self) -> RecoveryCurve:
        """What recoveries have left of drops so far."""
        result, curve = self.search.result, RecoveryCurve()
        before = {
            item.recipe.digest: result.vector(item)[0]
            for item in result.evaluations
            if item.recipe.recovery is None
        }
        for item in self._recovered:
            assert item.recipe.recovery is not None
            if (drop := before.get(bare(item.recipe).digest)) is not None:
                curve.learn(drop, result.vector(item)[0], item.recipe.recovery.steps)
        return curve

    def correlation(self) -> float | None:
        """Spearman's ρ between drops of the same candidates at r1 and after recovery."""
        plain = {
            item.recipe.digest: item.drop
            for item in self.search.result.evaluations
            if item.recipe.recovery is None
        }
        trained = [(bare(item.recipe).digest, item.drop) for item in self._recovered]
        return rank_correlation([(plain[digest], drop) for digest, drop in trained if digest in plain])

    def _poor(self) -> bool:
        found = self.correlation()
        return found is not None and found < LOW_CORRELATION


def bare(recipe: Recipe) -> Recipe:
    """The same recipe without recovery."""
    return replace(recipe, recovery=None)
