"""The front of an earlier run in the terms of another space."""

from dataclasses import replace

from autocompress.explore.space.space import GroupLevels, SearchSpace
from autocompress.explore.space.warm import MOST, warm_recipes
from autocompress.tests.results.sample_run import sample_run

INT4 = ("float32", "int8", "int4")


def space_like(run, *, wider=1, precisions=INT4):
    """The space of the run's network, its groups `wider` times as wide."""
    groups = tuple(
        GroupLevels(
            name=group.name,
            layers=group.layers,
            levels=tuple(range(8 * wider, wider * group.channels + 1, 8 * wider)),
        )
        for group in run.facts.groups
    )
    chosen = {layer.name: precisions for layer in run.facts.layers}
    return SearchSpace(groups=groups, precisions=chosen, ruled_out={})


def test_recipes_of_the_same_space_come_back_without_their_recovery():
    run = sample_run()
    on_front = {replace(point.recipe, recovery=None).digest for point in run.front}
    recipes = warm_recipes(run, space_like(run))
    assert 0 < len(recipes) <= MOST and {recipe.digest for recipe in recipes} <= on_front
    assert all(recipe.recovery is None for recipe in recipes)


def test_channels_of_a_wider_model_keep_their_share():
    run = sample_run()
    narrow, wide = (warm_recipes(run, space_like(run, wider=wider)) for wider in (1, 2))
    assert [{name: 2 * count for name, count in recipe.keep.items()} for recipe in narrow] == [
        recipe.keep for recipe in wide
    ]


def test_a_precision_that_is_not_there_becomes_the_nearest_of_the_same_arithmetic():
    run = sample_run()
    recipes = warm_recipes(run, space_like(run, precisions=("float32", "int4")))
    assert {precision for recipe in recipes for precision in recipe.precision.values()} == {"int4"}


def test_what_has_no_counterpart_is_left_out_and_nothing_is_left_of_a_stranger():
    run = sample_run()
    assert warm_recipes(run, SearchSpace(groups=(), precisions={}, ruled_out={})) == []


def test_every_recipe_lies_in_the_space():
    run = sample_run()
    space = space_like(run, wider=2)
    for recipe in warm_recipes(run, space):
        assert space.recipe_of(space.parameters(recipe)) == recipe
