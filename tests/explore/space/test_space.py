"""The search space: recipes from trials and back, its exact size, what the target rules out."""

from dataclasses import replace

import pytest
from autocompress.compress.graph.network import Network
from autocompress.compress.recipe import Recipe
from autocompress.errors import InputError
from autocompress.explore.preparation.plan import not_compressed
from autocompress.explore.space.seeds import first_recipes, nearest_level, spare_block
from autocompress.explore.space.space import (
    DEFAULT_RECOVERY,
    LEARNING_RATE,
    STEPS,
    GroupLevels,
    SearchSpace,
    usual_recovery,
)
from autocompress.profiles import load_profile
from autocompress.results.limits import require_reachable_size
from autocompress.tests.explore.fakes import PROFILE, FakeNetwork
from autocompress.tests.models import tiny_model
from optuna.samplers import RandomSampler
from optuna.study import create_study
from optuna.trial import FixedTrial


@pytest.fixture
def network():
    return FakeNetwork()


@pytest.fixture
def space(network):
    return SearchSpace.of(network, PROFILE)


def test_a_recipe_survives_its_way_through_the_parameters(space):
    study = create_study(sampler=RandomSampler(seed=0))
    for _ in range(20):
        recipe = space.suggest(study.ask())
        again = space.suggest(FixedTrial(space.parameters(recipe)))
        assert again == recipe and again.digest == recipe.digest


def test_recovery_parameters_are_asked_for_only_with_recovery(space):
    without, with_it = Recipe(), Recipe(recovery=DEFAULT_RECOVERY)
    assert "steps" not in space.parameters(without) and space.parameters(without)["recover"] == 0
    assert {"steps", "learning_rate", "temperature", "weight"} <= space.parameters(with_it).keys()


def test_a_full_level_is_no_entry_of_the_recipe(space):
    assert space.suggest(FixedTrial(space.parameters(Recipe()))) == Recipe()


def test_the_size_is_exact_even_for_3_to_the_200():
    groups = tuple(GroupLevels(name=f"g{i}", layers=(f"g{i}",), levels=(8, 16, 24)) for i in range(200))
    space = SearchSpace(groups=groups, precisions={}, ruled_out={})
    assert space.size == (1 + len(STEPS)) * 3**200
    assert len(first_recipes(space)) >= 5
    recipe = space.suggest(create_study(sampler=RandomSampler(seed=0)).ask())
    assert space.suggest(FixedTrial(space.parameters(recipe))) == recipe


def test_groups_no_wider_than_the_multiple_are_left_alone_with_a_reason():
    space = SearchSpace.of(FakeNetwork((8, 32, 10)), PROFILE)
    assert [group.name for group in space.groups] == ["layer1"]
    assert any(item.name == "layer0" and "multiple of 8" in item.reason for item in space.excluded)


def test_layers_whose_operator_has_no_int8_stay_float32(network):
    space = SearchSpace.of(network, replace(PROFILE, int8_operators=("Gemm",)))
    assert space.quantizable == ()
    assert any("runs Conv in float32 only" in item.reason for item in space.excluded)


def test_smallest_bytes_bound_every_recipe(network, space):
    study = create_study(sampler=RandomSampler(seed=1))
    bound = space.smallest_bytes(network)
    assert all(network.cost(space.suggest(study.ask())).weight_bytes >= bound for _ in range(50))


def test_a_size_that_no_recipe_reaches_is_refused_with_the_smallest_one(network, space):
    with pytest.raises(InputError, match=r"--max-size 1 B cannot be reached: the smallest recipe .* needs"):
        require_reachable_size(1, space.smallest_bytes(network))
    require_reachable_size(space.smallest_bytes(network), space.smallest_bytes(network))


def test_a_real_network_gives_a_space_whose_recipes_have_a_cost():
    model = tiny_model("residual")
    network = Network.trace(model.build(), model.example_inputs())
    space = SearchSpace.of(network, replace(PROFILE, channel_multiple=2))
    assert space.groups and space.quantizable
    assert network.cost(space.smallest()).macs < network.cost(Recipe()).macs


def test_the_first_recipes_are_the_original_then_uniform_int8_and_all_differ(space):
    recipes = first_recipes(space)
    assert recipes[0] == Recipe() and recipes[1] == space.uniform_int8()
    assert len({recipe.digest for recipe in recipes}) == len(recipes)
    assert all(space.suggest(FixedTrial(space.parameters(recipe))) == recipe for recipe in recipes)


def test_where_int8_does_not_pay_some_first_recipes_are_pruned_float32(space):
    recipes = first_recipes(space, int8_pays=False)
    assert any(recipe.keep and not recipe.precision for recipe in recipes)
    assert any(recipe.keep and recipe.precision for recipe in recipes)


def test_where_int8_does_not_pay_first_recipes_store_fewer_bits():
    recipes = first_recipes(rich_space(), int8_pays=False)
    assert set(recipes[2].precision.values()) == {"w8"} and len(recipes[2].precision) > 1
    assert recipes[3].precision["qkv"] == "w4" and recipes[3].precision["head"] == "w8"
    assert any(recipe.keep and set(recipe.precision.values()) == {"w4"} for recipe in recipes)


def rich_space(name="attention", *, storage_bits=(6, 4, 3, 2)):
    row = tiny_model(name)
    profile = replace(PROFILE, storage_bits=storage_bits, float_storage_bits=(8, 6, 4, 3, 2))
    profile = replace(profile, block4=True, channel_multiple=8)
    return SearchSpace.of(Network.trace(row.build(), row.example_inputs()), profile)


def test_fewer_bits_come_right_after_uniform_int8_with_first_and_last_layer_in_int8():
    recipes = first_recipes(rich_space())
    tried = [(recipe.precision["qkv"], recipe.recovery and recipe.recovery.steps) for recipe in recipes[2:5]]
    assert tried == [("int4", None), ("int4", 100), ("int3", 250)]
    assert all(recipe.precision["embed"] == recipe.precision["head"] == "int8" for recipe in recipes[1:5])


def test_one_of_the_first_recipes_removes_the_last_block_and_recovers():
    shallow = [recipe for recipe in first_recipes(rich_space()) if recipe.skip]
    assert [recipe.skip for recipe in shallow] == [("fc1-fc2",)]
    assert shallow[0].recovery == DEFAULT_RECOVERY and shallow[0].precision.keys().isdisjoint({"fc1", "fc2"})


def test_the_spare_block_is_the_last_of_the_stage_with_most_blocks():
    names = ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer2.2", "layer3.0", "layer3.1"]
    assert spare_block(dict.fromkeys(names, ())) == "layer2.2"
    assert spare_block(dict.fromkeys(names[:4], ())) == "layer2.1"


@pytest.mark.parametrize("name", ["attention", "residual", "chain", "mlp"])
@pytest.mark.parametrize("storage_bits", [(6, 4, 3, 2), (2,), ()], ids=["all", "int2", "none"])
def test_every_space_has_at_most_14_first_recipes_that_differ_and_lie_in_it(name, storage_bits):
    space = rich_space(name, storage_bits=storage_bits)
    recipes = first_recipes(space)
    assert recipes[0] == Recipe() and recipes[1] == space.uniform_int8()
    assert 2 <= len({recipe.digest for recipe in recipes}) == len(recipes) <= 14
    assert all(space.suggest(FixedTrial(space.parameters(recipe))) == recipe for recipe in recipes)


def test_blocks_and_ranks_survive_their_way_through_the_parameters():
    space, study = rich_space(), create_study(sampler=RandomSampler(seed=0))
    recipes = [space.suggest(study.ask()) for _ in range(40)]
    assert any(r.skip and r.rank for r in recipes) and any(r.rank and not r.skip for r in recipes)
    assert all(space.suggest(FixedTrial(space.parameters(recipe))) == recipe for recipe in recipes)


def test_a_block_inside_a_removed_one_is_no_entry_of_the_recipe():
    blocks = {"inner": ("a",), "outer": ("a", "b")}
    space = SearchSpace(groups=(), precisions={"a": ("float32", "int8")}, blocks=blocks, ruled_out={})
    assert space.canonical(Recipe(skip=("inner", "outer"), precision={"a": "int8"})) == Recipe(
        skip=("outer",)
    )


@pytest.mark.parametrize(("share", "level"), [(0.75, 24), (0.5, 16), (0.9, 32), (0.01, 8), (0.625, 24)])
def test_the_nearest_level_is_the_higher_one_of_two(share, level):
    assert nearest_level(GroupLevels(name="g", layers=("g",), levels=(8, 16, 24, 32)), share) == level


def test_a_plan_names_what_keeps_its_bytes_by_size():
    row = tiny_model("decoder")
    network = Network.trace(row.build(), row.example_inputs())
    space = SearchSpace.of(network, replace(load_profile("cpu"), float_storage_bits=()))
    listed = not_compressed(network, space.precisions)
    assert [one.name for one in listed] == ["head", "vectors and buffers outside the layers"]
    assert listed[1].bytes == 4 * (3 * 32 + 2 * 6 * 8)
    stored = SearchSpace.of(network, load_profile("cpu"))
    assert not_compressed(network, stored.precisions) == listed[1:]
    assert space.smallest_bytes(network) > listed[0].bytes


def test_what_lost_more_is_recovered_in_larger_steps():
    rates = [usual_recovery(drop, 100).learning_rate for drop in (-0.5, 0.0, 0.1, 0.5, 1.0, 1.9, 7.0)]
    assert rates == sorted(rates) and rates[4] == DEFAULT_RECOVERY.learning_rate
    assert rates[0] == rates[1] == DEFAULT_RECOVERY.learning_rate / 8 >= LEARNING_RATE[0]
    assert rates[-1] == 2 * DEFAULT_RECOVERY.learning_rate <= LEARNING_RATE[1]
