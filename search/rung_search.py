"""Climbing: the tables first, then rung after rung.

Rung r0 is the stitched KL of what the `front` sampler proposes, a second each; the best of every few go up to r1, where the
artifact is built, validated and measured; those that gain most by it are trained, briefly (r2) and in the last part of the time
longer (r3). Where the target leaves cores unused, training goes on beside all that in a process of its own.
"""

import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.trial import Trial

from ..compress.recipe import Recipe
from ..errors import StageError
from .evaluation import Evaluation, Failure, Screened
from .guide import Guide
from .recovery_process import RecoveryProcess
from .rungs import LOW_CORRELATION, RecoveryCurve, promoted, rank_correlation
from .search import Search
from .space import DEFAULT_RECOVERY, STEPS, Parameters

MAX_SCREENED = 200  # in a row: everything that is left is out of the limits
WINDOW = 5  # candidates of r0 for one that goes up
LATE = 0.6  # of the time: from here on recoveries are long
FIRST_SETTINGS = 4  # recoveries with the settings known to be good, before TPE varies them
SHORT_SHARE, LONG_SHARE = 0.08, 0.35  # of the time for recovery, that one may take
GRACE_SHARE = 0.03  # of the budget, in which a recovery beside the search may still end
TRIALS_PER_RECOVERY = 4  # where only the number of trials ends the search


@dataclass(slots=True, kw_only=True)
class RungSearch:
    """The strategy of the sampler `front`. `warm` are the recipes of an earlier run's front, tried first.

    With a `background` for recoveries this process keeps to `cores` meanwhile.
    """

    open_guide: Callable[[Search], Guide]
    background: RecoveryProcess | None = None
    cores: Collection[int] = ()
    warm: Sequence[Recipe] = ()
    _search: Search = field(init=False)
    _guide: Guide | None = None
    _beside: tuple[Trial, Recipe] | None = None
    _kls: dict[int, float] = field(default_factory=dict)
    _since_promotion: int = 0
    _screened: int = 0
    _turns: int = 0
    _began_s: float = 0.0
    _exhausted: bool = False

    def search(self, search: Search, interrupted: list[Trial]) -> None:
        """See Strategy."""
        self._search = search
        beside: AbstractContextManager[Any] = self.background or nullcontext()
        with beside, pinned(self.cores) if self.cores else nullcontext():
            try:
                self._climb(interrupted)
            finally:
                if self._beside is not None:  # Ctrl-C: the next session goes on with it
                    search.study.release(self._beside[0])

    def _climb(self, interrupted: list[Trial]) -> None:
        search = self._search
        self._kls = {trial.number: trial.user_attrs["kl"] for trial in search.study.trials if "kl" in trial.user_attrs}
        unfinished = [(trial, search.space.suggest(trial)) for trial in interrupted]
        for trial, recipe in [item for item in unfinished if item[1].recovery is None]:
            self._measure(trial, recipe)
        for recipe in (Recipe(), search.space.uniform_int8()):
            if recipe.digest not in search.tried and search.time_left():
                self._measure(*self._ask(search.space.parameters(recipe)))
        if not search.time_left():
            return
        self._guide = self.open_guide(search)
        search.study.use_sampler(self._guide.sampler)
        self._began_s = search.clock.elapsed_s
        for trial, recipe in [item for item in unfinished if item[1].recovery is not None]:
            self._recover(trial, recipe)
        for recipe in self.warm:
            if recipe.digest not in search.tried and search.time_left():
                self._measure(*self._ask(search.space.parameters(recipe)))
        while search.time_left() and not (self._exhausted and self._beside is None):
            self._step()
        self._last_recovery()

    def _step(self) -> None:
        """One thing: collect or start a recovery, one candidate of r0, or one that goes up."""
        self._collect()
        if self._beside is None and self._recovery_due() and self._start_recovery():
            return
        if self._exhausted:  # nothing left to do but to wait for a recovery
            self._collect(wait_s=1.0)
            return
        window = WINDOW if not self._poor("r0-r1") else max(1, WINDOW // 2)
        if self._since_promotion < window and self._rung0():
            return
        self._promote()

    # --- r0 and r1

    def _rung0(self) -> bool:
        """One more candidate of r0; False when the sampler has nothing left to propose."""
        search, guide = self._search, self._guide
        assert guide is not None
        levels = guide.proposer.propose() if self._screened < MAX_SCREENED else None
        if levels is None:
            return False
        recipe = guide.recipe(levels)
        verdict = search.screen.judge(recipe)
        if verdict is not None:
            search.directory.log("screened", reason=verdict.reason, message=verdict.message)
            guide.proposer.observe(levels)
            self._screened += 1
            return True
        self._screened = 0
        search.progress.stage(f"rung r0: candidate {len(guide.pool.found) + 1}")
        try:
            with search.interruptible(), search.ledger.timed("rung r0"):
                guide.probe(levels)
        except StageError as error:
            search.directory.log("failed at r0", recipe=recipe.to_json(), message=str(error))
            guide.proposer.observe(levels)
        self._since_promotion += 1
        return True

    def _promote(self) -> None:
        """The best of the pool becomes a trial and is measured."""
        search, guide = self._search, self._guide
        assert guide is not None
        waiting = guide.pool.waiting()
        vectors = [guide.proposer.predict(levels, loss=kl) for levels, kl in waiting]
        chosen = promoted(vectors, [search.result.vector(item) for item in search.result.feasible()], turn=self._turns)
        if chosen is None and self._since_promotion < 3 * WINDOW and self._rung0():
            return
        if not waiting:
            self._exhausted = True
            search.progress.note("Everything that the sampler proposes was tried or is out of the limits.")
            return
        if chosen is None:  # nothing is expected to help: the least hopeless one teaches the tables most
            chosen = min(range(len(waiting)), key=lambda index: math.prod(1 + max(0.0, x) for x in vectors[index]))
        levels, kl = waiting[chosen]
        guide.pool.promoted.add(levels)
        self._since_promotion, self._turns = 0, self._turns + 1
        recipe = guide.recipe(levels)
        if recipe.digest not in search.tried:
            trial, asked = self._ask(search.space.parameters(recipe))
            self._measure(trial, asked, kl=kl if asked == recipe else None)

    def _ask(self, parameters: Parameters) -> tuple[Trial, Recipe]:
        """The next trial with these parameters; one that a killed session had queued comes before."""
        trial = self._search.study.ask(parameters)
        return trial, self._search.space.suggest(trial)

    def _measure(self, trial: Trial, recipe: Recipe, *, kl: float | None = None) -> None:
        """Rung r1: builds, validates and measures."""
        search, guide = self._search, self._guide
        if kl is None and guide is not None and recipe.recovery is None:
            kl = guide.kl(recipe)
        if kl is not None:
            trial.set_user_attr("kl", kl)
            self._kls[trial.number] = kl
        outcome = search.evaluate(trial, recipe)
        if outcome is not None and guide is not None:
            guide.learn(outcome)
        self._log_correlation()

    # --- r2 and r3

    def _recovery_due(self) -> bool:
        """Whether the time for recovery that has passed so far is not used up."""
        search = self._search
        if not search.space.recovery:
            return False
        if self.background is not None:
            return True
        recovered = [item for item in search.result.evaluations if item.recipe.recovery is not None]
        if search.budget.search_s is None or search.budget.recovery_s is None:
            return len(recovered) * TRIALS_PER_RECOVERY < len(search.result.evaluations) - len(recovered) - 2
        passed = (search.clock.elapsed_s - self._began_s) / max(1.0, search.budget.search_s - self._began_s)
        return search.ledger.spent_s("recovery") < passed * search.budget.recovery_s

    def _start_recovery(self) -> bool:
        """Trains the candidate that is expected to gain most by it; False when there is none, or no time."""
        search = self._search
        steps = self._steps()
        best = None if steps is None else self._worth_recovering(steps)
        if best is None or steps is None:
            return False
        parameters = {**search.space.parameters(best.recipe), "recover": 1, "steps": STEPS.index(steps)}
        recovered = sum(item.recipe.recovery is not None for item in search.result.evaluations)
        if recovered < FIRST_SETTINGS:
            parameters = search.space.parameters(replace(best.recipe, recovery=replace(DEFAULT_RECOVERY, steps=steps)))
        self._turns += 1
        self._recover(*self._ask(parameters))
        return True

    def _steps(self) -> int | None:
        """How long the next recovery trains: as long as its share of the time allows; None when no training fits any more."""
        search = self._search
        step_s = search.screen.step_s
        left_s = search.left_s()
        if search.budget.search_s is None or step_s is None:
            return STEPS[0] if step_s is None or left_s > STEPS[0] * step_s else None
        whole_s = search.budget.search_s if self.background is not None else search.budget.recovery_s or 0.0
        late = search.clock.elapsed_s > LATE * search.budget.search_s
        longest_s = LONG_SHARE * whole_s if late else SHORT_SHARE * whole_s * (2 if self._poor("r1-r2") else 1)
        fitting = [steps for steps in STEPS if steps * step_s <= min(max(longest_s, STEPS[0] * step_s), left_s)]
        return fitting[-1] if fitting else None

    def _worth_recovering(self, steps: int) -> Evaluation | None:
        """The measured candidate that is expected to add most when it is trained for so long, bands of latency taking turns."""
        search, result = self._search, self._search.result
        curve = self._curve()
        done = {_bare(item.recipe).digest: item.recipe.recovery.steps for item in result.evaluations if item.recipe.recovery}
        candidates = [
            item
            for item in result.evaluations[1:]
            if item.recipe.recovery is None and done.get(item.recipe.digest, 0) < steps and result.affordable(item)
        ]
        vectors = []
        for item in candidates:
            drop, size, latency = result.vector(item)
            vectors.append((curve.after(drop, steps), size, latency))
        chosen = promoted(vectors, [result.vector(item) for item in result.feasible()], turn=self._turns)
        search.directory.log("recovery", steps=steps, candidate=None if chosen is None else candidates[chosen].trial)
        return None if chosen is None else candidates[chosen]

    def _curve(self) -> RecoveryCurve:
        """What recoveries have left of drops so far."""
        result, curve = self._search.result, RecoveryCurve()
        before = {item.recipe.digest: result.vector(item)[0] for item in result.evaluations if item.recipe.recovery is None}
        for item in result.evaluations:
            if item.recipe.recovery is not None and (drop := before.get(_bare(item.recipe).digest)) is not None:
                curve.learn(drop, result.vector(item)[0], item.recipe.recovery.steps)
        return curve

    def _recover(self, trial: Trial, recipe: Recipe) -> None:
        """Trains and measures here, or begins to train beside the search."""
        if self.background is None or self._beside is not None or recipe.recovery is None:
            self._measure(trial, recipe)
            return
        self._search.tried.add(recipe.digest)
        self._beside = trial, recipe
        self.background.start(recipe)

    def _collect(self, *, wait_s: float = 0.0) -> None:
        """Measures what was trained beside the search, if it is ready."""
        if self.background is None or self._beside is None:
            return
        with self._search.interruptible():
            built = self.background.poll(wait_s=wait_s)
        if built is None:
            return
        (trial, recipe), self._beside = self._beside, None
        if isinstance(built, StageError):
            self._search.fail(trial, recipe, Failure.of(built, trial=trial.number))
            return
        self._search.ledger.add_beside(built.seconds)
        outcome = self._search.evaluate(trial, recipe, built=built)
        if outcome is not None and self._guide is not None:
            self._guide.learn(outcome)
        self._log_correlation()

    def _last_recovery(self) -> None:
        """Waits a moment for a recovery that is nearly done; one that is not counts as out of time."""
        if self._beside is None or self.background is None:
            return
        search = self._search
        grace_s = 60.0 if search.budget.total_s is None else GRACE_SHARE * search.budget.total_s
        end_s = search.clock.elapsed_s + grace_s
        while self._beside is not None and search.clock.elapsed_s < end_s:
            search.progress.stage(f"waiting for a recovery: {self.background.stage}")
            self._collect(wait_s=0.5)
        if self._beside is not None:
            trial, _ = self._beside
            self.background.cancel()
            self._beside = None
            search.study.screen(trial, Screened(reason="time", message="its recovery did not end in time"))

    # --- how well rungs agree

    def correlations(self) -> dict[str, float | None]:
        """Spearman's ρ between r0's KL and r1's drop, and between drops of the same candidates at r1 and after recovery."""
        evaluations = self._search.result.evaluations
        plain = {item.recipe.digest: item.drop for item in evaluations if item.recipe.recovery is None}
        first = [(self._kls[item.trial], item.drop) for item in evaluations if item.trial in self._kls]
        trained = [(_bare(item.recipe).digest, item.drop) for item in evaluations if item.recipe.recovery is not None]
        second = [(plain[digest], drop) for digest, drop in trained if digest in plain]
        return {"r0-r1": rank_correlation(first), "r1-r2": rank_correlation(second)}

    def _poor(self, pair: str) -> bool:
        found = self.correlations()[pair]
        return found is not None and found < LOW_CORRELATION

    def _log_correlation(self) -> None:
        if self._guide is not None:
            self._search.directory.log("rank correlation", **self.correlations())

    def facts(self) -> dict[str, Any]:
        """What front.json tells of tables and rungs."""
        guide = self._guide
        if guide is None:  # nothing is left to do: what earlier sessions told stays
            before = self._search.directory.read_json("front.json") or {}
            return {name: before[name] for name in ("sensitivity", "latency_table", "rungs") if name in before}
        recovered = [item.recipe.recovery.steps for item in self._search.result.evaluations if item.recipe.recovery]
        counts = {
            "r0": {"count": len(guide.pool.found)},
            "r1": {"count": len(self._search.result.evaluations) - len(recovered)},
            "r2": {"count": len(recovered)},
        }
        return {**guide.facts(), "rungs": {**counts, "correlation": self.correlations()}}


@contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Keeps this thread, and what torch computes for it, to some cores."""
    import torch

    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(min(threads, len(cores)))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        torch.set_num_threads(threads)


def _bare(recipe: Recipe) -> Recipe:
    return replace(recipe, recovery=None)
