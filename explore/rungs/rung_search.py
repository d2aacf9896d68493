"""RungSearch: the strategy of the sampler `front`. The tables first, then rung after rung (climber.py).

When the targets leave cores unused, recoveries run beside the search in a process of their own; with a Ray
cluster candidates are built and trained there (../beside).
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from optuna.trial import Trial

from ...compress.recipe import Recipe
from ..beside.builders import Builders
from ..space.seeds import stored_recipes
from ..trials import Trials
from .climber import WINDOW, Climber
from .tables import FrontTables


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSearch:
    """The strategy. `warm` are the recipes of an earlier run's front, tried first; `window` candidates are
    looked at on rung r0 for one that is measured.

    With a `background` this process leaves its cores to it meanwhile. Without one, `time_step` gives the
    seconds of a training step.
    """

    make_tables: Callable[[Trials], FrontTables]
    background: Builders | None = None
    warm: Sequence[Recipe] = ()
    window: int = WINDOW
    time_step: Callable[[], float] | None = None

    def search(self, trials: Trials, interrupted: list[Trial]) -> None:
        """See Strategy."""
        unfinished = list(interrupted)
        if self.background is None:
            self._climb(trials, unfinished)
            return
        with self.background as builders:
            theirs = set(builders.cores)
            own = os.sched_getaffinity(0) - theirs if theirs else set()
            with pinned(own) if own else nullcontext():
                self._climb(trials, unfinished)

    def _climb(self, trials: Trials, unfinished: list[Trial]) -> None:
        """Takes the trials that it tried out of `unfinished`."""
        trials.take_up(unfinished, trials.evaluate, recovered=False)
        space = trials.space
        _try(trials, [Recipe(), space.uniform_int8()], trials.time_left)
        more = [space.with_free_levels(Recipe())]
        if not trials.int8_pays:
            more += [space.with_free_levels(recipe) for recipe in stored_recipes(space)]
        _try(trials, more, lambda: trials.time_left() and trials.another_fits())
        if not trials.time_left():
            return
        if not trials.space.has_levels:
            trials.note("Nothing in this model can be pruned, removed or stored in fewer bits on the target.")
            return
        tables = self.make_tables(trials)
        climber = Climber(
            trials, tables, background=self.background, window=self.window, time_step=self.time_step
        )
        climber.climb(unfinished, self.warm)


def _try(trials: Trials, recipes: Sequence[Recipe], time_left: Callable[[], bool]) -> None:
    """Evaluates those that were not, as long as there is time."""
    for recipe in recipes:
        if recipe.digest not in trials.tried and time_left():
            trials.evaluate(*trials.ask(trials.space.parameters(recipe)))


@contextmanager
def pinned(cores: Collection[int]) -> Iterator[None]:
    """Keeps this thread, and what torch computes for it, to some cores."""
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(min(threads, len(cores)))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        torch.set_num_threads(threads)
