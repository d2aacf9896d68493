"""Warm start: the front of an earlier run, translated to this search's space."""

from collections.abc import Iterable
from dataclasses import replace

from ...compress.recipe import BITS, INTEGER, Precision, Recipe
from ...results.formats import Point, Run, ratio_of
from ...results.front import hypervolume
from ...results.pick import costs_of, drop_scale_of
from .seeds import nearest_level
from .space import SearchSpace

MOST = 12


def warm_recipes(run: Run, space: SearchSpace) -> list[Recipe]:
    """At most 12 recipes, without recovery, from the front of a run on the same or a similar task; the most
    valuable points first.

    Groups, layers and blocks are found by name. Channels are scaled to the width here and rounded to the
    nearest level, a precision that the target does not have becomes the nearest one in bits; whatever has no
    counterpart stays as it is.
    """
    translated = [_translated(Recipe.from_json(point["recipe"]), run, space) for point in _by_value(run)]
    unique = {recipe.digest: recipe for recipe in translated if recipe != Recipe()}
    return list(unique.values())[:MOST]


def _by_value(run: Run) -> list[Point]:
    """The front's points in greedy order of the hypervolume that they add."""
    base, scale = run["baseline"], drop_scale_of(run)
    left = [
        (
            point,
            (
                costs_of(point)["drop"] / scale,
                costs_of(point)["size"] / costs_of(base)["size"],
                ratio_of(point),
            ),
        )
        for point in run["front"]
    ]
    order: list[tuple[Point, tuple[float, float, float]]] = []
    while left:
        best = max(left, key=lambda item: hypervolume([*(vector for _, vector in order), item[1]]))
        order.append(best)
        left.remove(best)
    return [point for point, _ in order]


def _translated(recipe: Recipe, run: Run, space: SearchSpace) -> Recipe:
    widths = {group["name"]: group["channels"] for group in run["groups"]}
    keep = {
        group.name: nearest_level(group, recipe.keep[group.name] / widths.get(group.name, group.channels))
        for group in space.groups
        if group.name in recipe.keep
    }
    keep = {
        group.name: keep[group.name]
        for group in space.groups
        if keep.get(group.name, group.channels) < group.channels
    }
    precision = {
        name: _nearest_precision(recipe.precision[name], found)
        for name, found in space.precisions.items()
        if name in recipe.precision
    }
    rank = {
        name: min(found, key=lambda value: abs(value - recipe.rank[name]))
        for name, found in space.ranks.items()
        if name in recipe.rank
    }
    skip = tuple(sorted(name for name in recipe.skip if name in space.blocks))
    plain: dict[str, Precision] = {name: found for name, found in precision.items() if found != "float32"}
    return space.canonical(replace(recipe, keep=keep, precision=plain, rank=rank, skip=skip, recovery=None))


def _nearest_precision(wanted: Precision, choices: Iterable[Precision]) -> Precision:
    """The choice of the same arithmetic (integer or not) with the nearest number of bits."""
    return min(
        choices,
        key=lambda found: ((found in INTEGER) != (wanted in INTEGER), abs(BITS[found] - BITS[wanted])),
    )
