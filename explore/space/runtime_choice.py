"""RuntimeChoice: in which runtimes of a device a candidate is built and measured.

A runtime that lacks a level of the recipe cannot take it. Of the others those are left in that may give a
point of the front: by the latency tables the fastest, those that may be faster than it (within the
uncertainty of both predictions), and those with a clearly smaller file. The original and uniform int8 are
measured in all.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...compress.recipe import Recipe
from .runtimes import RuntimeSpaces

SURE = 2.0  # standard deviations of both predictions together
LEAST_ERROR = 0.03  # relative, of a predicted ratio, whatever the table thinks of itself
SMALLER = 0.95  # times the size of the fastest: worth a measurement for its size alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the tables expect of a candidate in a runtime: size and latency relative to the baseline's, and
    the standard deviation of the latency, relative.
    """

    size: float
    latency: float
    deviation: float


@dataclass(slots=True, kw_only=True)
class RuntimeChoice:
    """A Placing. `unusable` are the runtimes that cannot write or run the original, with the reasons;
    `expected` is there when the latency tables are.
    """

    spaces: RuntimeSpaces
    unusable: Mapping[str, str] = field(default_factory=dict)
    expected: Callable[[Recipe], Mapping[str, Expected]] | None = None

    def refusals(self, recipe: Recipe) -> dict[str, str]:
        """By target that cannot take the recipe, why."""
        refusals = dict(self.unusable)
        for name in self.spaces.own.keys() - refusals.keys():
            if (refused := self.spaces.refusal(recipe, name)) is not None:
                refusals[name] = refused
        return refusals

    def refusal(self, recipe: Recipe) -> str | None:
        """Why no runtime takes the recipe, None where one does."""
        refusals = self.refusals(recipe)
        if len(refusals) < len(self.spaces.own):
            return None
        return "; ".join(f"{name}: {reason}" for name, reason in sorted(refusals.items()))

    def left_out(self, recipe: Recipe) -> dict[str, str]:
        """See Placing."""
        left_out = self.refusals(recipe)
        everywhere = recipe in (Recipe(), self.spaces.widest.uniform_int8())
        if everywhere or self.expected is None:
            return left_out
        expected = {name: one for name, one in self.expected(recipe).items() if name not in left_out}
        if not expected:
            return left_out
        best = min(expected.values(), key=lambda one: one.latency)
        for name, one in expected.items():
            if not _may_win(one, best):
                left_out[name] = f"predicted {one.latency:.2f} ×, the fastest runtime {best.latency:.2f} ×"
        return left_out


def _may_win(one: Expected, best: Expected) -> bool:
    """Whether it may be faster than what is expected to be the fastest, or is clearly smaller and not slower
    than the original.
    """
    error = SURE * math.hypot(max(one.deviation, LEAST_ERROR), max(best.deviation, LEAST_ERROR))
    if one.latency * (1 - error) <= best.latency:
        return True
    return one.size < SMALLER * best.size and one.latency <= 1.0
