"""One measured candidate after the other: the first recipes of `seeds.py`, then whatever an Optuna sampler
asks for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from optuna.samplers import BaseSampler
from optuna.trial import Trial

from ..compress.recipe import Recipe
from .space.seeds import first_recipes
from .space.space import SearchSpace
from .trials import Trials

MAX_SCREENED = 200  # in a row: the space is exhausted
MAX_OUT_OF_TIME = 20  # in a row: nothing that the sampler wants fits into the time left
LONGEST_SHARE = 0.25  # of the budget, for one candidate


class FirstRecipes(Protocol):
    """Chooses what is tried before the sampler is asked."""

    def __call__(self, space: SearchSpace, *, int8_pays: bool) -> Sequence[Recipe]:
        """The recipes in order; the original comes first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential:
    """The strategy of the samplers `tpe`, `nsga2`, `gp` and `random`; `sampler` is another one."""

    first: FirstRecipes = first_recipes
    sampler: Callable[[], BaseSampler] | None = None

    def search(self, trials: Trials, interrupted: list[Trial]) -> None:
        """See Strategy."""
        unfinished = list(interrupted)
        if self.sampler is not None:
            trials.use_sampler(self.sampler())
        trials.take_up(unfinished, trials.evaluate)
        screened, out_of_time = 0, 0
        while trials.time_left() and screened < MAX_SCREENED and out_of_time < MAX_OUT_OF_TIME:
            seed = self._next(trials)
            trial, recipe = trials.ask(trials.space.parameters(seed) if seed else None)
            trials.tried.add(recipe.digest)
            verdict = None
            if trial.number > 1:
                verdict = trials.screen.judge(recipe, left_s=_longest_s(trials))
            if verdict is None:
                screened = out_of_time = 0
                trials.evaluate(trial, recipe)
                continue
            trials.screen_out(trial, verdict)
            screened += 1
            out_of_time += verdict.reason == "time"
        if screened == MAX_SCREENED:
            trials.note(
                "Everything that the sampler proposes was tried or is out of the limits: the search ends."
            )

    def _next(self, trials: Trials) -> Recipe | None:
        """The next of the first candidates, None when all were tried."""
        for recipe in self.first(trials.space, int8_pays=trials.int8_pays):
            possible = trials.space.recovery or recipe.recovery is None
            if possible and recipe.digest not in trials.tried:
                return recipe
        return None


def _longest_s(trials: Trials) -> float:
    """Seconds that one candidate may take."""
    total_s, left_s = trials.budget.total_s, trials.left_s()
    return left_s if total_s is None else min(left_s, LONGEST_SHARE * total_s)
