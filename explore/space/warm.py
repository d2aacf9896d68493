"""Warm start: the front of an earlier run, translated to this search's space."""

from collections.abc import Iterable

from ...compress.recipe import BITS, INTEGER, STORED, Precision, Recipe
from ...results.front import Vector, hypervolume
from ...results.records.point import Point
from ...results.records.run import Run
from .seeds import nearest_level
from .space import SearchSpace

MOST = 12


def warm_recipes(run: Run, space: SearchSpace) -> list[Recipe]:
    """At most 12 recipes, without recovery, from the front of an earlier run, the most valuable points first.

    The run is on the same task or a similar one. Groups, layers and blocks are matched by name. Channels are
    scaled to the width here and rounded to the nearest level, a precision that the targets do not have
    becomes the nearest one in bits; whatever has no counterpart stays as it is.
    """
    translated = [_translated(point.recipe, run, space) for point in _by_value(run)]
    unique = {recipe.digest: recipe for recipe in translated if recipe != Recipe()}
    return list(unique.values())[:MOST]


def _by_value(run: Run) -> list[Point]:
    """The front's points in greedy order of the hypervolume that they add."""
    remaining = {point.trial: run.vector(point) for point in run.front}
    chosen: list[Vector] = []
    order = []
    while remaining:
        gains = {trial: hypervolume([*chosen, vector]) for trial, vector in remaining.items()}
        best = max(gains, key=lambda trial: gains[trial])
        chosen.append(remaining.pop(best))
        order.append(run.point(best))
    return order


def _translated(recipe: Recipe, run: Run, space: SearchSpace) -> Recipe:
    widths = {group.name: group.channels for group in run.facts.groups}
    keep: dict[str, int] = {}
    for group in space.groups:
        if group.name in recipe.keep:
            width = widths.get(group.name, group.channels)
            count = nearest_level(group, recipe.keep[group.name] / width)
            if count < group.channels:
                keep[group.name] = count
    precision: dict[str, Precision] = {}
    for name, choices in space.precisions.items():
        if name in recipe.precision:
            nearest = _nearest_precision(recipe.precision[name], choices)
            if nearest != "float32":
                precision[name] = nearest
    rank: dict[str, int] = {}
    for name, ranks in space.ranks.items():
        if name in recipe.rank:
            rank[name] = _nearest(ranks, recipe.rank[name])
    skip = tuple(sorted(name for name in recipe.skip if name in space.blocks))
    return space.canonical(
        Recipe(
            keep=keep,
            precision=precision,
            rank=rank,
            skip=skip,
            fused=space.fusable,
            used_rows=space.unused_rows,
            resolution=recipe.resolution if recipe.resolution in space.resolutions else None,
        )
    )


def _nearest(ranks: Iterable[int], wanted: int) -> int:
    return min(ranks, key=lambda rank: abs(rank - wanted))


def _nearest_precision(wanted: Precision, choices: Iterable[Precision]) -> Precision:
    """The choice of the same arithmetic (integer or not, only stored in fewer bits or not) with the nearest
    number of bits.
    """

    def distance(choice: Precision) -> tuple[bool, bool, int]:
        bits = abs(BITS[choice] - BITS[wanted])
        return (choice in INTEGER) != (wanted in INTEGER), (choice in STORED) != (wanted in STORED), bits

    return min(choices, key=distance)
