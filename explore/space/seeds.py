"""The first candidates: the original, uniform int8 (on GPUs float16, fp8 and sparse int8, too), fewer bits,
then keep levels in int8 with and without recovery. Where int8 does not pay, fewer bits are only stored, and
computed in float32.

They come before the sampler because a plain sampler on the raw per-layer space does not beat them for its
first hundred trials. *Inner* groups (the channels between two layers) come before all groups: a channel of a
residual sum is shared by many layers, so that the same loss of MACs costs more quality there. With fewer bits
the first and the last layer stay int8: they hold few weights and lose most.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...compress.recipe import Precision, Recipe, Recovery
from .space import DEFAULT_RECOVERY, STEPS, GroupLevels, SearchSpace

SHORT = replace(DEFAULT_RECOVERY, steps=STEPS[0])
LONG = replace(DEFAULT_RECOVERY, steps=STEPS[2])
MOST = 14
_OTHERS: tuple[Precision, ...] = (
    "float16",
    "fp8",
    "int8_24",
    "dynamic8",
)  # of GPUs, of transformers


def first_recipes(space: SearchSpace, *, int8_pays: bool = True) -> list[Recipe]:
    """At most 14 recipes in the order to try them: trial 0 is the original, trial 1 uniform int8; no two are
    equal. These two are as exported, the others with all levels that lose nothing (fused, only used rows).

    Where int8 does not pay on the target (tiny layers, depthwise ones), every other one of those that lose
    channels or a block is in float32, the others store their weights in 4 bits if they can.
    """
    stored = {} if int8_pays else space.uniform("w4").precision
    pruned = [
        recipe if int8_pays else replace(recipe, precision={} if at % 2 == 0 else stored or recipe.precision)
        for at, recipe in enumerate(_uniform_levels(space))
    ]
    uniform = [space.uniform(precision) for precision in _OTHERS]
    fewer = _fewer_stored_bits(space) if stored else _fewer_bits(space)
    images = _smaller_images(space, precision=space.uniform_int8().precision if int8_pays else stored)
    others = [space.with_free_levels(recipe) for recipe in (Recipe(), *uniform, *fewer, *images, *pruned)]
    recipes = [Recipe(), space.uniform_int8(), *others]
    return list({recipe.digest: recipe for recipe in recipes}.values())[:MOST]


def _smaller_images(space: SearchSpace, *, precision: Mapping[str, Precision]) -> Iterator[Recipe]:
    """The two largest of the smaller sizes of images, trained: without that they say little."""
    for size in space.resolutions[:2]:
        yield Recipe(precision=precision, resolution=size, recovery=DEFAULT_RECOVERY)


def stored_recipes(space: SearchSpace) -> list[Recipe]:
    """All weights stored in 8 bits and computed in float32; the same with those between the first and the
    last layer in 4 bits. Empty where the target does not expand such weights.
    """
    if not space.uniform("w8").precision:
        return []
    return [_stored(space, inside="w8"), _stored(space, inside="w4")]


def of_several_bits(space: SearchSpace) -> list[Recipe]:
    """All layers in 8 bits, and those between the first and the last in 6 and in 4: stored ones where the
    target has them, otherwise in int8. Islands are made of them.
    """
    kinds: tuple[Precision, ...] = ("w8", "w6", "w4")
    stored = [_stored(space, inside=inside) for inside in kinds] if stored_recipes(space) else []
    made = [space.uniform_int8()]
    for recipe in stored:
        legal = {name: kind for name, kind in recipe.precision.items() if kind in space.precisions[name]}
        made.append(Recipe(precision=legal))
    return made


def _stored(space: SearchSpace, *, inside: Precision) -> Recipe:
    """All weights stored in 8 bits, but those between the first and the last layer as `inside` says."""
    wide = space.uniform("w8").precision
    narrow: dict[str, Precision] = dict.fromkeys([*wide][1:-1], inside)
    return Recipe(precision={**wide, **narrow})


def _fewer_bits(space: SearchSpace) -> Iterator[Recipe]:
    """Four bits as they are and with a short recovery, which tells what a training step costs, so that later
    ones can be fitted into the budget; three bits never do without.
    """
    for precision, recovery in (("int4", None), ("int4", SHORT), ("int3", DEFAULT_RECOVERY)):
        inside = space.quantizable[1:-1]
        fewer: dict[str, Precision] = {
            name: precision for name in inside if precision in space.precisions[name]
        }
        if fewer:
            yield replace(
                space.uniform_int8(), precision={**space.uniform_int8().precision, **fewer}, recovery=recovery
            )


def _fewer_stored_bits(space: SearchSpace) -> Iterator[Recipe]:
    """The same of weights that are only stored in fewer bits, without recovery first."""
    yield from stored_recipes(space)
    plans: tuple[tuple[Precision, Recovery | None], ...]
    plans = (("w6", None), ("w4", SHORT), ("w3", DEFAULT_RECOVERY))
    if len(space.uniform("w8").precision) > 2:
        for precision, recovery in plans:
            yield replace(_stored(space, inside=precision), recovery=recovery)


def _uniform_levels(space: SearchSpace) -> Iterator[Recipe]:
    """A short recovery comes first, as it does among the fewer bits: not every target has those."""
    inner = tuple(group for group in space.groups if len(group.layers) == 1) or space.groups
    yield _uniform(space, widest(inner), 0.75, recovery=SHORT)
    yield _uniform(space, inner, 0.75, recovery=DEFAULT_RECOVERY)
    if space.blocks:
        yield space.canonical(
            replace(space.uniform_int8(), skip=(spare_block(space.blocks),), recovery=DEFAULT_RECOVERY)
        )
    yield _uniform(space, widest(inner), 0.875)
    yield _uniform(space, widest(inner), 0.5, recovery=DEFAULT_RECOVERY)
    yield replace(
        _uniform(space, inner, 0.5, recovery=SHORT), precision={}
    )  # where layers are tiny, float32 may win
    yield _uniform(space, inner, 0.75, recovery=LONG)
    yield _uniform(space, widest(inner), 0.875, recovery=SHORT)
    yield _uniform(space, space.groups, 0.75, recovery=LONG)
    yield _uniform(space, inner, 0.5, recovery=LONG)


def spare_block(blocks: Mapping[str, tuple[str, ...]]) -> str:
    """The last block of the stage with most blocks, of equal stages the last: a stage is what stands before
    the last dot.
    """
    stages: dict[str, list[str]] = {}
    for name in blocks:
        stages.setdefault(name.rpartition(".")[0], []).append(name)
    return max(reversed(stages.values()), key=len)[-1]


def widest(groups: tuple[GroupLevels, ...]) -> tuple[GroupLevels, ...]:
    """The groups with the most channels: there one level is the smallest step, and most parameters live."""
    return tuple(group for group in groups if group.channels == max(g.channels for g in groups))


def _uniform(
    space: SearchSpace, groups: tuple[GroupLevels, ...], share: float, *, recovery: Recovery | None = None
) -> Recipe:
    """Int8 everywhere, each of `groups` at the level nearest to `share` of its channels (the higher one of
    two).
    """
    keep = {group.name: nearest_level(group, share) for group in groups}
    keep = {group.name: keep[group.name] for group in groups if keep[group.name] < group.channels}
    return Recipe(keep=keep, precision=space.uniform_int8().precision, recovery=recovery)


def nearest_level(group: GroupLevels, share: float) -> int:
    """The keep level nearest to `share` of the channels; the higher one of two that are equally near."""
    return min(group.levels, key=lambda level: (abs(level - share * group.channels), -level))
