"""On which runtimes of a device a candidate is tried: the others are left out, and nothing waits for them."""

from collections.abc import Mapping
from typing import Protocol

from ..compress.recipe import Recipe


class Placing(Protocol):
    """Decides it for each recipe. Without one a candidate has to serve every target."""

    def left_out(self, recipe: Recipe) -> Mapping[str, str]:
        """By target where the recipe is not tried, the reason; one target at least is left."""
        ...
