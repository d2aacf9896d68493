"""The first candidates: the original, uniform int8, then uniform keep levels in int8 with and without recovery.

They come before the sampler because a plain sampler on the raw per-layer space does not beat them for its first hundred
trials. *Inner* groups (the channels between two layers) come before all groups: a channel of a residual sum is shared by
many layers, so that the same loss of MACs costs more quality there.
"""

from collections.abc import Iterator
from dataclasses import replace

from ..compress.recipe import Recipe, Recovery
from .space import DEFAULT_RECOVERY, STEPS, GroupLevels, SearchSpace

SHORT = replace(DEFAULT_RECOVERY, steps=STEPS[0])
LONG = replace(DEFAULT_RECOVERY, steps=STEPS[-1])


def first_recipes(space: SearchSpace, *, int8_pays: bool = True) -> list[Recipe]:
    """Recipes in the order to try them: trial 0 is the original, trial 1 uniform int8; no two are equal.

    Where int8 does not pay on the target (tiny layers), every other one of the rest is in float32.
    """
    pruned = [
        replace(recipe, precision={}) if index % 2 == 0 and not int8_pays else recipe
        for index, recipe in enumerate(_uniform_levels(space))
    ]
    recipes = [Recipe(), space.uniform_int8(), *pruned]
    return list({recipe.digest: recipe for recipe in recipes}.values())


def _uniform_levels(space: SearchSpace) -> Iterator[Recipe]:
    """A short recovery comes first: it tells what a training step costs, so that later ones can be fitted into the budget."""
    inner = tuple(group for group in space.groups if len(group.layers) == 1) or space.groups
    yield _uniform(space, widest(inner), 0.75, recovery=SHORT)
    yield _uniform(space, inner, 0.75, recovery=DEFAULT_RECOVERY)
    yield _uniform(space, widest(inner), 0.875)
    yield _uniform(space, widest(inner), 0.5, recovery=DEFAULT_RECOVERY)
    yield replace(_uniform(space, inner, 0.5, recovery=SHORT), precision={})  # where layers are tiny, float32 may win
    yield _uniform(space, inner, 0.75, recovery=LONG)
    yield _uniform(space, widest(inner), 0.875, recovery=SHORT)
    yield _uniform(space, space.groups, 0.75, recovery=LONG)
    yield _uniform(space, inner, 0.5, recovery=LONG)


def widest(groups: tuple[GroupLevels, ...]) -> tuple[GroupLevels, ...]:
    """The groups with the most channels: there one level is the smallest step, and most parameters live."""
    return tuple(group for group in groups if group.channels == max(g.channels for g in groups))


def _uniform(space: SearchSpace, groups: tuple[GroupLevels, ...], share: float, *, recovery: Recovery | None = None) -> Recipe:
    """Int8 everywhere, each of `groups` at the level nearest to `share` of its channels (the higher one of two)."""
    keep = {group.name: nearest_level(group, share) for group in groups}
    keep = {group.name: keep[group.name] for group in groups if keep[group.name] < group.channels}
    return Recipe(keep=keep, precision=space.uniform_int8().precision, recovery=recovery)


def nearest_level(group: GroupLevels, share: float) -> int:
    """The keep level nearest to `share` of the channels; the higher one of two that are equally near."""
    return min(group.levels, key=lambda level: (abs(level - share * group.channels), -level))
