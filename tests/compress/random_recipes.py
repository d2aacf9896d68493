"""Recipes that mix everything a search may ask for: what works alone may fail together."""

import random
from collections.abc import Iterator
from dataclasses import replace

from autocompress.compress import Network, Recipe
from autocompress.explore.space.space import SearchSpace
from autocompress.profiles import load_profile

_CHANGED = (0.0, 0.2, 0.5, 1.0)  # shares of the levels of a kind that a recipe changes
_KINDS = {
    "skip": False,
    "keep": True,
    "precision": False,
    "rank": True,
}  # whether the last level changes nothing


class _Levels:
    """A Suggester: of each kind of level a random share is changed, to a random level."""

    def __init__(self, chance: random.Random):
        self._chance = chance
        self._shares = {kind: chance.choice(_CHANGED) for kind in (*_KINDS, "other")}

    def suggest_int(self, name: str, low: int, high: int, /) -> int:
        kind = name.partition("/")[0]
        if self._chance.random() < self._shares.get(kind, self._shares["other"]):
            return self._chance.randint(low, high)
        return high if _KINDS.get(kind, False) else low

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool = False) -> float:
        return low


def random_recipes(network: Network, count: int, *, seed: str) -> Iterator[Recipe]:
    """So many recipes of the space of ONNX Runtime on a CPU, the same for a seed; none is trained.

    Layers with several calls compute in no integers: ONNX Runtime with exact sums refuses their file.
    """
    chance, space = random.Random(seed), SearchSpace.of(network, load_profile("cpu"), recovery=False)
    several = {layer.name for layer in network.layers if layer.uses > 1}
    for _ in range(count):
        recipe = space.suggest(_Levels(chance))
        precision = {
            name: kind
            for name, kind in recipe.precision.items()
            if name not in several or kind.startswith("w")
        }
        yield replace(recipe, precision=precision, recovery=None)
