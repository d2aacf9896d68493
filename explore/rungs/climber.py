"""Climber: rung after rung, once the tables are there.

Rung r0 is the stitched KL of each proposal of the `front` sampler and takes about a second. The best of
every few go up to r1: the artifact is built, validated and measured. The candidates that gain most from
training are trained, shortly (r2), and longer in the last part of the time (r3). Therefore every other
candidate is sought for what it is expected to be after training: one that loses ten points before and one
point after would otherwise never go up.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from optuna.trial import Trial

from ...compress.recipe import Recipe
from ...errors import StageError
from ...results.records.progress import Rungs
from ...results.records.run import Vector
from ..beside.builders import Builders
from ..sampling.proposals import Mending
from ..space.problem import Levels
from ..space.space import STEPS
from ..trials import Trials
from .in_flight import InFlight
from .promotion import LOW_CORRELATION, promoted, rank_correlation
from .recoveries import Recoveries, trained
from .tables import FrontTables

MAX_SCREENED = 200  # in a row: everything that is left is out of the limits
WINDOW = 5  # candidates of r0 for one that goes up
LOOKS_SHARE = 1 / 3  # of a dear candidate's time, for the looks before it
_SHORT_STEPS = STEPS[1]  # a recovery of more counts as rung r3
_KL = "kl"  # user attribute of a trial


class Climber:
    """Climbs until the time is over or nothing is left to do."""

    def __init__(
        self,
        trials: Trials,
        tables: FrontTables,
        *,
        background: Builders | None,
        window: int,
        time_step: Callable[[], float] | None = None,
    ):
        self._trials = trials
        self._tables = tables
        self._window = window
        self._flights = InFlight(
            trials=trials,
            builders=background,
            measure=self._measure,
            learn=self._learn,
            forget=tables.forget,
        )
        self._recoveries = Recoveries(
            trials=trials,
            measure=self._measure,
            flights=self._flights,
            began_s=trials.elapsed_s,
            time_step=time_step,
        )
        self._beside: dict[str, tuple[Levels, float]] = {}  # what was given to builders, by digest
        self._kls: dict[int, float] = {
            trial.number: trial.user_attrs[_KL] for trial in trials.records if _KL in trial.user_attrs
        }
        self._learned = {point.trial: set(point.measured) for point in trials.points}
        self._since_promotion = 0
        self._screened = 0
        self._look_s: list[float] = []
        self._turns = 0
        self._mending: Mending | None = None
        self._exhausted = False

    def climb(self, unfinished: list[Trial], warm: Sequence[Recipe]) -> None:
        """Continues the recoveries of a killed session, tries the recipes of `warm`, then climbs."""
        trials = self._trials
        trials.use_sampler(self._tables.sampler)
        try:
            trials.take_up(unfinished, self._recoveries.recover, recovered=True)
            self._begin()
            for recipe in warm:
                if recipe.digest not in trials.tried and trials.time_left():
                    self._measure(*trials.ask(trials.space.parameters(recipe)))
            while trials.time_left() and self._step():
                pass
            self._flights.finish()
        finally:
            self._flights.release()
            self._tell()

    def _begin(self) -> None:
        """What was measured before there were tables teaches the curve from KL to drop; the fastest islands
        are the first candidates of r0, as many as are looked at for one that goes up.
        """
        trials, tables = self._trials, self._tables
        for point in trials.points:
            untold = point.trial not in self._kls and point.recipe.recovery is None
            if not untold or point.recipe == Recipe() or not trials.time_left():
                continue
            if (kl := tables.kl_of_tried(point.recipe)) is not None:
                self._kls[point.trial] = kl
        for count, levels in enumerate(tables.islands()):
            if count >= self._looks_due() or not trials.time_left():
                return
            if trials.screen.judge(tables.recipe(levels)) is None:
                self._look([levels])

    def _step(self) -> bool:
        """One thing: collect or start a recovery, one candidate of r0, or one that goes up; False when
        nothing is left to do.
        """
        flights = self._flights
        flights.collect()
        if self._recoveries.start(due=self._exhausted):
            return True
        if self._nothing_to_begin():
            waited = flights.busy
            flights.collect(wait_s=1.0)
            return waited
        if self._since_promotion < self._looks_due() and self._rung0():
            return True
        self._promote()
        return True

    def _nothing_to_begin(self) -> bool:
        """Whether there is nothing but to wait for what is built beside the search."""
        trials = self._trials
        enough = not trials.time_left(more=self._flights.count) and self._flights.busy
        return self._exhausted or not trials.another_fits() or enough

    # --- r0 and r1

    def _looks_due(self) -> int:
        """How many looks there are for one candidate that goes up: fewer where they say little, and where
        they would take longer than the candidate itself, or a third of it if it is dear.
        """
        window = max(1, self._window // 2) if self._poor() else self._window
        candidate_s = self._candidate_s
        if candidate_s is None or not self._look_s or self._trials.options.deterministic:
            return window
        share = LOOKS_SHARE if self._dear() else 1.0
        return min(window, max(1, int(share * candidate_s / median(self._look_s))))

    def _looks_if_nothing_helps(self) -> int:
        """How many there are at most for one, where none so far is expected to help: one more where
        candidates are dear, since one that disappoints teaches more.
        """
        return self._looks_due() + 1 if self._dear() else 3 * self._looks_due()

    @property
    def _candidate_s(self) -> float | None:
        return self._trials.screen.seconds(Recipe())

    def _dear(self) -> bool:
        return self._candidate_s is not None and self._trials.budget.is_dear(self._candidate_s)

    def _rung0(self) -> bool:
        """The next candidates of r0: one, and one more for each free builder; False when the sampler has
        nothing left to propose.
        """
        trials, tables = self._trials, self._tables
        proposed: list[Levels] = []
        while len(proposed) < self._at_once() and self._screened < MAX_SCREENED:
            levels = tables.proposer.propose()
            if levels is None:
                break
            verdict = trials.screen.judge(tables.recipe(levels))
            if verdict is None:
                self._screened = 0
                proposed.append(levels)
                continue
            trials.log("screened", reason=verdict.reason, message=verdict.message)
            tables.proposer.observe(levels)
            self._screened += 1
            if not proposed:
                return True
        self._look(proposed)
        self._since_promotion += len(proposed)
        return bool(proposed)

    def _at_once(self) -> int:
        """How many candidates of r0 are looked at together."""
        builders = self._flights.builders
        if builders is None or builders.only_recoveries:
            return 1
        return 1 + min(builders.free, self._looks_due() - 1)

    def _look(self, candidates: Sequence[Levels]) -> None:
        """The KL of candidates: of the first here, meanwhile of the others beside the search."""
        trials, tables, builders = self._trials, self._tables, self._flights.builders
        if not candidates:
            return
        trials.stage(f"rung r0: candidate {len(tables.pool.kls) + 1}")
        began_s, (first, *others) = trials.elapsed_s, candidates
        kls: Sequence[float | StageError | None] = ()
        with trials.interruptible(), trials.timed("rung r0"):
            if builders is None or not others:
                self._note_kl(first, None)
            else:
                recipes = [tables.recipe(levels) for levels in others]
                kls = builders.kls(recipes, meanwhile=lambda: self._note_kl(first, None))
            for levels, kl in zip(others, kls, strict=True):
                self._note_kl(levels, kl)
        self._look_s.append((trials.elapsed_s - began_s) / len(candidates))

    def _note_kl(self, levels: Levels, kl: float | StageError | None) -> None:
        """Takes note of a KL, which is computed here if it is None."""
        tables = self._tables
        try:
            if isinstance(kl, StageError):
                raise kl
            tables.probe(levels, kl=kl)
        except StageError as error:
            self._trials.log("failed at r0", recipe=tables.recipe(levels).to_json(), message=str(error))
            tables.guess(levels)

    def _promote(self) -> None:
        """The best of the pool becomes a trial and is measured; of those that could not be stitched only when
        no other waits.
        """
        tables = self._tables
        waiting = tables.pool.waiting()
        vectors = tables.vectors(waiting)
        chosen = self._best(vectors)
        if chosen is None and self._since_promotion < self._looks_if_nothing_helps() and self._rung0():
            return
        if not waiting:
            waiting = tables.pool.guesses()
            vectors = tables.vectors(waiting)
            chosen = self._best(vectors)
        if not waiting:
            self._exhausted = True
            self._trials.note("Everything that the sampler proposes was tried or is out of the limits.")
            return
        if chosen is None:  # nothing is expected to help: the least hopeless one teaches the tables most
            volumes = [math.prod(1 + max(0.0, value) for value in vector) for vector in vectors]
            chosen = volumes.index(min(volumes))
        self._since_promotion, self._turns = 0, self._turns + 1
        self._go_up(*waiting[chosen])
        self._aim()

    def _aim(self) -> None:
        """Every other candidate is one that is to be trained, as long as a further recovery is possible."""
        self._mending = self._recoveries.mending() if self._turns % 2 else None
        self._tables.proposer.aim(self._mending)

    def _best(self, vectors: Sequence[Vector]) -> int | None:
        run = self._trials.run
        front = [run.vector(point) for point in run.front]
        flying = [self._beside[each.digest] for each in self._flights.recipes if each.digest in self._beside]
        front += self._tables.vectors(flying)
        if self._mending is not None:
            bare = [run.vector(point) for point in run.points if point.recipe.recovery is None]
            front += trained(bare, self._mending)
        return promoted(vectors, front, turn=self._turns, limits=self._tables.proposer.limits)

    def _go_up(self, levels: Levels, kl: float) -> None:
        """Measures a candidate, unless its recipe was tried. It keeps waiting when a trial of a killed
        session comes first.
        """
        trials, pool = self._trials, self._tables.pool
        recipe = self._tables.recipe(levels)
        if recipe.digest in trials.tried:
            pool.promoted.add(levels)
            return
        trial, asked = trials.ask(trials.space.parameters(recipe))
        if asked == recipe:
            pool.promoted.add(levels)
        known = kl if asked == recipe and levels in pool.kls else None
        if self._flights.takes_build():
            self._tell_kl(trial, asked, known)
            self._beside[asked.digest] = (levels, kl)
            self._flights.start(trial, asked)
        else:
            self._measure(trial, asked, kl=known)

    def _tell_kl(self, trial: Trial, recipe: Recipe, kl: float | None) -> None:
        if kl is None and recipe.recovery is None and trial.number not in self._kls:
            kl = self._tables.kl(recipe)
        if kl is not None:
            trial.set_user_attr(_KL, kl)
            self._kls[trial.number] = kl

    def _measure(self, trial: Trial, recipe: Recipe, *, kl: float | None = None) -> None:
        """Rung r1: builds, validates and measures."""
        self._tell_kl(trial, recipe, kl)
        point = self._trials.evaluate(trial, recipe)
        if point is not None:
            self._learn()
        else:
            self._tables.forget(recipe)

    def _learn(self) -> None:
        """Corrects the tables by everything measured since, also on boards that came back."""
        run, tables = self._trials.run, self._tables
        before = set(tables.predictors)
        tables.limit(run)
        joined = tables.predictors.keys() - before  # they have learned from all points
        for point in run.points:
            learned = self._learned.setdefault(point.trial, set())
            later = {name: outcome for name, outcome in point.measured.items() if name not in learned}
            learned.update(later)
            fresh = {name: outcome for name, outcome in later.items() if name not in joined}
            if fresh:
                tables.learn(replace(point, outcomes=fresh))
        self._trials.log("rank correlation", **self.correlations())
        self._tell()

    # --- how well rungs agree

    def correlations(self) -> dict[str, float | None]:
        """Spearman's ρ between r0's KL and r1's drop, and between drops of the same candidates at r1 and
        after recovery.
        """
        return {"r0-r1": self._agreement(), "r1-r2": self._recoveries.correlation()}

    def _agreement(self) -> float | None:
        run = self._trials.run
        pairs = [
            (self._kls[point.trial], run.vector(point)[0]) for point in run.points if point.trial in self._kls
        ]
        return rank_correlation(pairs)

    def _poor(self) -> bool:
        agreement = self._agreement()
        return agreement is not None and agreement < LOW_CORRELATION

    def _tell(self) -> None:
        """The facts about tables and rungs in front.json."""
        recoveries = [point.recipe.recovery for point in self._trials.points]
        steps = [recovery.steps for recovery in recoveries if recovery is not None]
        short = sum(count <= _SHORT_STEPS for count in steps)
        counts = {
            "r0": len(self._tables.pool.kls),
            "r1": len(recoveries) - len(steps),
            "r2": short,
            "r3": len(steps) - short,
        }
        rungs = Rungs(counts=counts, correlation=self.correlations())
        self._trials.tell(replace(self._tables.facts(), rungs=rungs))
