"""Climbing: the tables first, then rung after rung.

Rung r0 is the stitched KL of what the `front` sampler proposes, a second each; the best of every few go up to
r1, where the artifact is built, validated and measured; those that gain most by it are trained, briefly (r2)
and in the last part of the time longer (r3). Where the target leaves cores unused, training goes on beside
all that in a process of its own.
"""

import math
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import Trial

from ...compress.recipe import Recipe
from ...errors import StageError
from ...results.evaluation import Evaluation
from ..search import Search
from ..space.problem import Levels
from ..space.space import STEPS, Parameters
from .guide import Guide
from .promotion import LOW_CORRELATION, Vector, promoted, rank_correlation
from .recoveries import Recoveries
from .recovery_process import RecoveryProcess

MAX_SCREENED = 200  # in a row: everything that is left is out of the limits
WINDOW = 5  # candidates of r0 for one that goes up
_SHORT_STEPS = STEPS[1]  # a recovery of more counts as rung r3


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
    _recoveries: Recoveries = field(init=False)
    _guide: Guide | None = None
    _kls: dict[int, float] = field(default_factory=dict)
    _since_promotion: int = 0
    _screened: int = 0
    _turns: int = 0
    _exhausted: bool = False

    def search(self, search: Search, interrupted: list[Trial]) -> None:
        """See Strategy."""
        self._search = search
        self._recoveries = Recoveries(
            search=search, measure=self._measure, learn=self._learn, background=self.background
        )
        unfinished = list(interrupted)
        beside: AbstractContextManager[Any] = self.background or nullcontext()
        with beside, pinned(self.cores) if self.cores else nullcontext():
            try:
                self._climb(unfinished)
            finally:  # time over, or Ctrl-C: the next session goes on with them
                self._recoveries.release()
                for trial in unfinished:
                    search.study.release(trial)

    def _climb(self, unfinished: list[Trial]) -> None:
        """Takes the trials that it tried out of `unfinished`."""
        search = self._search
        self._kls = {
            trial.number: trial.user_attrs["kl"] for trial in search.study.trials if "kl" in trial.user_attrs
        }
        self._take_up(unfinished, recovered=False)
        for recipe in (Recipe(), search.space.uniform_int8()):
            self._try(recipe)
        if not search.time_left():
            return
        if not search.space.has_levels:
            search.progress.note(
                "Nothing in this model can be pruned, removed or stored in fewer bits on the target."
            )
            return
        self._guide = self.open_guide(search)
        search.study.use_sampler(self._guide.sampler)
        self._recoveries.begin()
        self._take_up(unfinished, recovered=True)
        for recipe in self.warm:
            self._try(recipe)
        while search.time_left() and self._step():
            pass
        self._recoveries.finish()

    def _take_up(self, unfinished: list[Trial], *, recovered: bool) -> None:
        """Tries what a killed session left, with recovery or without."""
        search = self._search
        for trial in list(unfinished):
            recipe = search.space.suggest(trial)
            if (recipe.recovery is not None) != recovered or not search.time_left():
                continue
            unfinished.remove(trial)
            if search.screened_again(trial, recipe):
                continue
            if recovered:
                self._recoveries.recover(trial, recipe)
            else:
                self._measure(trial, recipe)

    def _try(self, recipe: Recipe) -> None:
        """Measures a recipe, unless it was tried or the time is over."""
        search = self._search
        if recipe.digest not in search.tried and search.time_left():
            self._measure(*self._ask(search.space.parameters(recipe)))

    def _step(self) -> bool:
        """One thing: collect or start a recovery, one candidate of r0, or one that goes up; False when
        nothing is left to do.
        """
        recoveries = self._recoveries
        recoveries.collect()
        if recoveries.start(due=self._exhausted):
            return True
        if self._exhausted:  # nothing but to wait for a recovery
            waited = recoveries.busy
            recoveries.collect(wait_s=1.0)
            return waited
        window = WINDOW if not self._poor() else max(1, WINDOW // 2)
        if self._since_promotion < window and self._rung0():
            return True
        self._promote()
        return True

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
            guide.guess(levels)
        self._since_promotion += 1
        return True

    def _promote(self) -> None:
        """The best of the pool becomes a trial and is measured; of those that could not be stitched only when
        no other waits.
        """
        search, guide = self._search, self._guide
        assert guide is not None
        waiting = guide.pool.waiting()
        vectors = guide.vectors(waiting)
        chosen = promoted(vectors, self._front(), turn=self._turns, limits=guide.proposer.limits)
        if chosen is None and self._since_promotion < 3 * WINDOW and self._rung0():
            return
        if not waiting:
            waiting = guide.pool.guesses()
            vectors = guide.vectors(waiting)
            chosen = promoted(vectors, self._front(), turn=self._turns, limits=guide.proposer.limits)
        if not waiting:
            self._exhausted = True
            search.progress.note("Everything that the sampler proposes was tried or is out of the limits.")
            return
        if chosen is None:  # nothing is expected to help: the least hopeless one teaches the tables most
            chosen = min(
                range(len(waiting)), key=lambda index: math.prod(1 + max(0.0, x) for x in vectors[index])
            )
        self._since_promotion, self._turns = 0, self._turns + 1
        self._go_up(*waiting[chosen])

    def _go_up(self, levels: Levels, kl: float) -> None:
        """Measures a candidate, unless its recipe was tried; it waits on where a trial of a killed session
        comes before.
        """
        search, guide = self._search, self._guide
        assert guide is not None
        recipe = guide.recipe(levels)
        if recipe.digest in search.tried:
            guide.pool.promoted.add(levels)
            return
        trial, asked = self._ask(search.space.parameters(recipe))
        if asked == recipe:
            guide.pool.promoted.add(levels)
        self._measure(trial, asked, kl=kl if asked == recipe and levels in guide.pool.found else None)

    def _front(self) -> list[Vector]:
        """What was measured, as predictions see it: the tables know the latency on the first target only."""
        result = self._search.result
        return [(*result.vector(item)[:2], item.latency.ratio) for item in result.feasible()]

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
        if outcome is not None:
            self._learn(outcome)
        elif guide is not None:
            guide.forget(recipe)

    def _learn(self, evaluation: Evaluation) -> None:
        if self._guide is not None:
            self._guide.learn(evaluation)
            self._guide.limit(self._search.result)
            self._search.directory.log("rank correlation", **self.correlations())

    # --- how well rungs agree

    def correlations(self) -> dict[str, float | None]:
        """Spearman's ρ between r0's KL and r1's drop, and between drops of the same candidates at r1 and
        after recovery.
        """
        return {"r0-r1": self._agreement(), "r1-r2": self._recoveries.correlation()}

    def _agreement(self) -> float | None:
        evaluations = self._search.result.evaluations
        return rank_correlation(
            [(self._kls[item.trial], item.drop) for item in evaluations if item.trial in self._kls]
        )

    def _poor(self) -> bool:
        found = self._agreement()
        return found is not None and found < LOW_CORRELATION

    def facts(self, search: Search) -> dict[str, Any]:
        """What front.json tells of tables and rungs."""
        guide = self._guide
        if guide is None:  # nothing is left to do: what earlier sessions told stays
            before = search.directory.read_json("front.json") or {}
            return {
                name: before[name] for name in ("sensitivity", "latency_table", "rungs") if name in before
            }
        steps = [item.recipe.recovery.steps for item in search.result.evaluations if item.recipe.recovery]
        counts = {
            "r0": {"count": len(guide.pool.found)},
            "r1": {"count": len(search.result.evaluations) - len(steps)},
            "r2": {"count": sum(count <= _SHORT_STEPS for count in steps)},
            "r3": {"count": sum(count > _SHORT_STEPS for count in steps)},
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
