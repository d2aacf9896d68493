"""Rungs r2 and r3: which measured candidate is trained next, for how long, here or beside the search."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from optuna.trial import Trial

from ...compress.recipe import Recipe
from ...errors import OutOfTime, StageError
from ...profiles import format_duration
from ...results.records.point import Point
from ...results.records.run import Vector
from ..sampling.proposals import Mending
from ..space.space import STEPS, usual_recovery
from ..state import affordable, clearly_loses
from ..trials import Trials
from .in_flight import InFlight
from .promotion import LOW_CORRELATION, RecoveryCurve, promoted, rank_correlation

LATE = 0.6  # of the time: from here on recoveries are long
FIRST_SETTINGS = 8  # recoveries with the settings known to be good, before TPE varies them
SHORT_SHARE, LONG_SHARE = 0.08, 0.35  # of the time for recovery, that one may take
MOST_SHARE = 0.25  # the shortest one may take: where fewer than four fit, their time is explored
TRIALS_PER_RECOVERY = 4  # where only the number of trials ends the search
LONGER_EVERY = 3  # of these recoveries one is longer
MAX_FAILURES = 3  # while none succeeded: then the task cannot be trained here


@dataclass(slots=True, kw_only=True)
class Recoveries:
    """The recoveries of a search. `measure` evaluates a trial here; those beside the search are in `flights`.
    `began_s`: from when on the time for recovery runs. `time_step` gives the seconds of a training step where
    they pause the search; it is asked once, before any was seen.
    """

    trials: Trials
    measure: Callable[[Trial, Recipe], None]
    flights: InFlight
    began_s: float
    time_step: Callable[[], float] | None = None
    _timed_s: float | None = None
    _turns: int = 0
    _nothing_at: tuple[int, int, int] | None = None
    _gave_up: bool = False

    @property
    def _beside(self) -> bool:
        """Whether recoveries run beside the search, not instead of it."""
        return self.flights.builders is not None

    # --- which one, and when

    def start(self, *, due: bool = False) -> bool:
        """Trains the candidate that is expected to gain most. False when no recovery is due yet, or no
        candidate or no time is left.

        With `due` it is due in any case, since there is nothing else to do.
        """
        trials = self.trials
        if self._beside and not self.flights.takes_recovery():
            return False
        if not self._possible() or not (due or self._due()):
            return False
        steps = self._steps(alone=due)
        best = None if steps is None else self._most_worth(steps)
        if best is None or steps is None:
            return False
        parameters = {**trials.space.parameters(best.recipe), "recover": 1, "steps": STEPS.index(steps)}
        if len(self._recovered) < FIRST_SETTINGS:
            recovery = usual_recovery(trials.run.vector(best)[0], steps)
            parameters = trials.space.parameters(replace(best.recipe, recovery=recovery))
        self._turns += 1
        self.recover(*trials.ask(parameters))
        return True

    def mending(self) -> Mending | None:
        """What is expected to be left of drops by a recovery of the length that is usual now; None when no
        further one is possible.
        """
        steps = self._steps() if self._possible() else None
        return None if steps is None else self._curve().mending(steps)

    @property
    def _recovered(self) -> list[Point]:
        return [point for point in self.trials.points if point.recipe.recovery is not None]

    def _failures(self) -> Counter[str]:
        """How often the recovery of a candidate failed, by its digest without recovery; over all sessions."""
        recipes = self.trials.failed_recipes()
        return Counter(bare(recipe).digest for recipe in recipes if recipe.recovery is not None)

    def _possible(self) -> bool:
        """Whether the space has recovery, and it does not fail every time."""
        if not self.trials.space.recovery or self._gave_up:
            return False
        count = self._failures().total()
        self._gave_up = count >= MAX_FAILURES and not self._recovered
        if self._gave_up:
            self.trials.note(f"Note: {count} recoveries failed and none succeeded: no more are tried.")
        return not self._gave_up

    def _due(self) -> bool:
        """Whether the time for recovery that has passed so far is not used up."""
        trials, budget = self.trials, self.trials.budget
        if self._beside:
            return True
        if budget.search_s is None or budget.recovery_s is None:
            count = len(self._recovered)
            tried = (count + self._failures().total()) * TRIALS_PER_RECOVERY
            return tried < len(trials.points) - count - 2
        passed = (trials.elapsed_s - self.began_s) / max(1.0, budget.search_s - self.began_s)
        return trials.ledger.spent_s("recovery") < passed * budget.recovery_s

    def _steps(self, *, alone: bool = False) -> int | None:
        """How long the next recovery trains: as long as its share of the time allows; None when no training
        fits any more, or the shortest would take too much of the time, unless there is nothing else to do
        (`alone`).
        """
        trials, budget = self.trials, self.trials.budget
        if budget.search_s is None:
            return STEPS[2] if len(self._recovered) % LONGER_EVERY == LONGER_EVERY - 1 else STEPS[1]
        step_s = trials.screen.step_s or self._timed_step_s()
        if step_s is None:
            return STEPS[0]
        whole_s = budget.search_s if self._beside else budget.recovery_s or 0.0
        if not alone and self._takes_much(step_s):
            return None
        longest_s = SHORT_SHARE * whole_s * (2 if self._poor() else 1)
        if trials.elapsed_s > LATE * budget.search_s:
            longest_s = LONG_SHARE * whole_s
        limit_s = min(max(longest_s, STEPS[0] * step_s), trials.left_s())
        fitting = [steps for steps in STEPS if steps * step_s <= limit_s]
        return fitting[-1] if fitting else None

    def _timed_step_s(self) -> float | None:
        """The seconds of a training step that was timed; None if it was not, or failed."""
        time_step, self.time_step = self.time_step, None
        if time_step is None:
            return self._timed_s
        trials = self.trials
        trials.stage("timing a training step")
        with trials.timed("recovery"):
            try:
                self._timed_s = time_step()
            except (StageError, OutOfTime) as error:  # a recovery will say what is wrong
                trials.log("recovery", steps=0, candidate=None, error=str(error))
        if self._timed_s is not None and self._takes_much(self._timed_s):
            took = format_duration(STEPS[0] * self._timed_s)
            whole = format_duration(trials.budget.recovery_s or 0.0)
            trials.note(
                f"Note: {STEPS[0]} training steps would take {took} of the {whole} for recovery: that is "
                "explored instead. A larger --budget has room."
            )
        return self._timed_s

    def _takes_much(self, step_s: float) -> bool:
        """Whether the shortest recovery would pause the search for more than its share of the time."""
        recovery_s = self.trials.budget.recovery_s or 0.0
        return not self._beside and STEPS[0] * step_s > MOST_SHARE * recovery_s

    def _most_worth(self, steps: int) -> Point | None:
        """The measured candidate that is expected to add most when it is trained for so long.

        What cannot be told apart from the original comes last: a gain could not be seen. Not in a
        deterministic search, since whether a slow metric has an interval is a matter of time.
        """
        run, failures = self.trials.run, self._failures()
        state = (len(run.points), failures.total(), steps)
        if state == self._nothing_at:  # nothing was learned since
            return None
        done = self._done()
        candidates = [
            point
            for point in run.points[1:]
            if point.recipe.recovery is None
            and point.recipe.digest not in failures
            and done.get(point.recipe.digest, 0) < steps
            and affordable(run, point)
        ]
        clear = [point for point in candidates if clearly_loses(run, point)]
        if self.trials.options.deterministic:
            clear = []
        chosen = self._promoted(clear, steps) or self._promoted(candidates, steps)
        self.trials.log("recovery", steps=steps, candidate=None if chosen is None else chosen.trial)
        self._nothing_at = state if chosen is None else None
        return chosen

    def _promoted(self, candidates: Sequence[Point], steps: int) -> Point | None:
        """The one that adds most, bands of latency taking turns; None when none is expected to add."""
        run = self.trials.run
        expected = trained([run.vector(point) for point in candidates], self._curve().mending(steps))
        index = promoted(expected, [run.vector(point) for point in run.front], turn=self._turns)
        return None if index is None else candidates[index]

    def _done(self) -> dict[str, int]:
        """The most steps that a candidate was or is trained for, by its digest without recovery."""
        done: dict[str, int] = {}
        for recipe in (*(point.recipe for point in self.trials.points), *self.flights.recipes):
            if recipe.recovery is not None:
                digest = bare(recipe).digest
                done[digest] = max(done.get(digest, 0), recipe.recovery.steps)
        return done

    # --- training and measuring

    def recover(self, trial: Trial, recipe: Recipe) -> None:
        """Trains and measures here, or begins to train beside the search."""
        trials, start_s = self.trials, self.trials.elapsed_s
        if recipe.recovery is not None and self.flights.takes_recovery():
            self.flights.start(trial, recipe)
            return
        count = len(trials.points)
        self.measure(trial, recipe)
        if recipe.recovery is not None and len(trials.points) == count:  # it failed: that took its time, too
            trials.ledger.add({"recovery": trials.elapsed_s - start_s})

    # --- what they do

    def _curve(self) -> RecoveryCurve:
        """How far recoveries have reduced drops so far."""
        run, curve = self.trials.run, RecoveryCurve()
        before = {
            point.recipe.digest: run.vector(point)[0] for point in run.points if point.recipe.recovery is None
        }
        for point in run.points:
            if point.recipe.recovery is not None:
                drop = before.get(bare(point.recipe).digest)
                if drop is not None:
                    curve.learn(drop, run.vector(point)[0], point.recipe.recovery.steps)
        return curve

    def correlation(self) -> float | None:
        """Spearman's ρ between drops of the same candidates at r1 and after recovery."""
        run = self.trials.run
        plain: dict[str, float] = {}
        for point in run.points:
            if point.recipe.recovery is None:
                plain[point.recipe.digest] = run.vector(point)[0]
        trained = [(bare(point.recipe).digest, run.vector(point)[0]) for point in self._recovered]
        return rank_correlation([(plain[digest], drop) for digest, drop in trained if digest in plain])

    def _poor(self) -> bool:
        correlation = self.correlation()
        return correlation is not None and correlation < LOW_CORRELATION


def trained(vectors: Sequence[Vector], mending: Mending) -> list[Vector]:
    """The vectors with the drops that a recovery is expected to leave."""
    drops = mending(np.array([drop for drop, _, _ in vectors])).tolist()
    return [(drop, size, latency) for drop, (_, size, latency) in zip(drops, vectors, strict=True)]


def bare(recipe: Recipe) -> Recipe:
    """The same recipe without recovery."""
    return replace(recipe, recovery=None)
