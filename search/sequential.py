"""One measured candidate after the other: the first recipes of `seeds.py`, then whatever an Optuna sampler
asks for.
"""

from dataclasses import dataclass
from typing import Any

from optuna.trial import Trial

from ..compress.recipe import Recipe
from .search import Search
from .space.seeds import first_recipes

MAX_SCREENED = 200  # in a row: the space is exhausted
MAX_OUT_OF_TIME = 20  # in a row: nothing that the sampler wants fits into the time left
LONGEST_SHARE = 0.25  # of the budget, for one candidate
INT8_PAYS = 0.95  # uniform int8 has at most this latency ratio


@dataclass(frozen=True, slots=True)
class Sequential:
    """The strategy of the samplers `tpe`, `nsga2`, `gp` and `random`."""

    def search(self, search: Search, interrupted: list[Trial]) -> None:
        """See Strategy."""
        _take_up(search, interrupted)
        screened, out_of_time = 0, 0
        while search.time_left() and screened < MAX_SCREENED and out_of_time < MAX_OUT_OF_TIME:
            seed = _next_seed(search)
            trial = search.study.ask(search.space.parameters(seed) if seed else None)
            recipe = search.space.suggest(trial)
            search.tried.add(recipe.digest)
            verdict = search.screen.judge(recipe, left_s=_longest_s(search)) if trial.number > 1 else None
            if verdict is None:
                screened = out_of_time = 0
                search.evaluate(trial, recipe)
                continue
            search.study.screen(trial, verdict)
            search.directory.log(
                "screened", trial=trial.number, reason=verdict.reason, message=verdict.message
            )
            screened += 1
            out_of_time += verdict.reason == "time"
        if screened == MAX_SCREENED:
            search.progress.note(
                "Everything that the sampler proposes was tried or is out of the limits: the search ends."
            )

    def facts(self, search: Search) -> dict[str, Any]:
        """Nothing of its own."""
        return {}


def _take_up(search: Search, interrupted: list[Trial]) -> None:
    """Tries what a killed session left; what there is no time for waits for the next one, without counting as
    a crash.
    """
    left = list(interrupted)
    try:
        while left and search.time_left():
            trial = left.pop(0)
            recipe = search.space.suggest(trial)
            if not search.screened_again(trial, recipe):
                search.evaluate(trial, recipe)
    finally:
        for trial in left:
            search.study.release(trial)


def _longest_s(search: Search) -> float:
    """Seconds that one candidate may take."""
    total = search.budget.total_s
    return search.left_s() if total is None else min(search.left_s(), LONGEST_SHARE * total)


def _next_seed(search: Search) -> Recipe | None:
    """The next of the first candidates, None when all were tried."""
    uniform = search.result.uniform_int8
    recipes = first_recipes(search.space, int8_pays=uniform is None or uniform.latency.ratio < INT8_PAYS)
    wanted = (recipe for recipe in recipes if search.space.recovery or recipe.recovery is None)
    return next((recipe for recipe in wanted if recipe.digest not in search.tried), None)
