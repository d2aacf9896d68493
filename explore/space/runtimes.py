"""The space of several runtimes of one device: what any of them allows, and which allow a candidate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...compress.recipe import Recipe
from ...profiles import Profile
from .joint_space import widest_profile
from .problem import LevelProblem, Term
from .space import SearchSpace

if TYPE_CHECKING:
    from ...compress.graph.network import Network

ILLEGAL = 10.0  # ratio that a level adds on a runtime without it: far outside of every box


@dataclass(frozen=True, kw_only=True)
class RuntimeSpaces:
    """The space of each runtime by target; `widest` has what any of them allows."""

    widest: SearchSpace
    own: Mapping[str, SearchSpace]

    @classmethod
    def of(cls, network: "Network", profiles: Sequence[Profile], *, recovery: bool = True) -> "RuntimeSpaces":
        """The spaces of a network on these targets, with the same channel counts."""
        step = math.lcm(*(profile.channel_multiple for profile in profiles))
        alike = [replace(profile, channel_multiple=step) for profile in profiles]
        return cls(
            widest=SearchSpace.of(network, widest_profile(alike), recovery=recovery),
            own={profile.name: SearchSpace.of(network, profile, recovery=recovery) for profile in alike},
        )

    def refusal(self, recipe: Recipe, target: str) -> str | None:
        """Why a runtime does not take the recipe; None where it does."""
        legal = self.own[target].precisions
        for layer, precision in recipe.precision.items():
            if precision not in legal.get(layer, ("float32",)):
                return f"no {precision} there (for {layer})"
        return None

    def with_refusals(self, problem: LevelProblem, targets: Sequence[str]) -> LevelProblem:
        """The problem of the widest space. A level costs ILLEGAL on a target that does not have it."""
        terms = list(problem.terms)
        for layer, choices in self.widest.precisions.items():
            legal = [self.own[name].precisions.get(layer, ("float32",)) for name in targets]
            costs = [[0.0 if choice in there else ILLEGAL for choice in choices] for there in legal]
            if np.any(costs):
                slot = problem.index[f"precision/{layer}"]
                size = np.zeros((len(targets), len(choices)))
                terms.append(Term(scope=(slot,), size=size, latency=np.array(costs)))
        return replace(problem, terms=tuple(terms))
