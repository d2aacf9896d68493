"""What need not be built: tried before, too large, too slow, too long."""

from dataclasses import replace

import pytest
from autocompress.compress.recipe import Recipe
from autocompress.explore.screen import Screen
from autocompress.explore.space.space import DEFAULT_RECOVERY
from autocompress.tests.explore.fakes import FakeNetwork
from autocompress.tests.present import present
from autocompress.tests.results.records import TARGET, on_two, point

FAST = point(1, drop=0.01, ratio=0.5, size=30_000)


def screen(**limits):
    return Screen(network=FakeNetwork(), **limits)


def test_a_recipe_that_was_tried_is_screened_out():
    subject = screen()
    subject.learn(FAST)
    assert present(subject.judge(FAST.recipe)).reason == "duplicate"
    assert subject.judge(Recipe(keep={"layer0": 8})) is None


def test_a_recipe_whose_weights_exceed_the_limit_is_screened_out():
    verdict = screen(sizes={"int8": 1000}).judge(Recipe())
    assert verdict.reason == "size" and verdict.excess > 0


def test_a_limit_on_size_is_compared_with_the_bytes_in_the_files_of_its_own_target():
    network, recipe = (
        FakeNetwork(int8_weights="float32"),
        Recipe(precision={f"layer{n}": "int8" for n in range(4)}),
    )
    limit = network.cost(recipe).weight_bytes // 2
    assert Screen(network=network, sizes={"int8": limit}).judge(recipe) is None
    both = Screen(network=network, sizes={"int8": limit, "float32": limit})
    assert present(both.judge(recipe)).reason == "size"


def test_what_is_no_smaller_than_a_model_that_is_too_slow_is_screened_out():
    subject = screen(latencies_s={TARGET: 0.3e-3})
    subject.learn(replace(FAST, recipe=Recipe(keep={"layer1": 8})))
    assert subject.judge(Recipe(keep={"layer1": 16})).reason == "latency"
    assert subject.judge(Recipe(keep={"layer0": 8})) is None
    assert subject.judge(Recipe(keep={"layer1": 16}, precision={"layer0": "int8"})) is None


def test_a_recovery_that_does_not_fit_into_the_time_left_is_screened_out():
    subject = screen()
    recovered = Recipe(recovery=replace(DEFAULT_RECOVERY, steps=100))
    subject.learn(replace(FAST, recipe=recovered, seconds={"build": 1.0, "recover": 10.0}))
    assert subject.seconds(Recipe(recovery=DEFAULT_RECOVERY)) == pytest.approx(26.0)
    assert subject.judge(Recipe(recovery=DEFAULT_RECOVERY), left_s=20.0).reason == "time"
    assert subject.judge(Recipe(keep={"layer0": 8}), left_s=20.0) is None


def test_the_export_of_the_original_is_not_expected_of_other_candidates():
    subject = screen()
    subject.learn(replace(FAST, seconds={"build": 45.0, "measure": 20.0}))
    assert subject.seconds(Recipe(keep={"layer0": 8})) == pytest.approx(65.0)
    for build_s in (4.0, 6.0):
        recipe = Recipe(keep={"layer0": int(build_s)})
        subject.learn(replace(FAST, recipe=recipe, seconds={"build": build_s, "measure": 20.0}))
    assert subject.seconds(Recipe(keep={"layer0": 8})) == pytest.approx(25.0)


def test_what_is_too_slow_on_one_target_is_not_built_larger():
    subject = screen(latencies_s={"edge": 0.5e-3})
    subject.learn(on_two(1, recipe=Recipe(keep={"layer0": 8}), ratio=0.1, edge=0.9))
    judged = subject.judge(Recipe())
    assert judged.reason == "latency" and judged.excess == pytest.approx(0.8)
    assert "the limit is 500.0 µs" in judged.message
    assert subject.judge(Recipe(keep={"layer1": 8})) is None
