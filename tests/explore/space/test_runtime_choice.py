"""In which runtimes of a device a candidate is built and measured."""

from dataclasses import replace

import numpy as np
import pytest
from autocompress.compress.recipe import Recipe
from autocompress.explore.space.problem import LevelProblem, Slot, Term
from autocompress.explore.space.runtime_choice import Expected, RuntimeChoice
from autocompress.explore.space.runtimes import ILLEGAL, RuntimeSpaces
from autocompress.tests.explore.fakes import PROFILE, FakeNetwork

ORT = replace(PROFILE, name="ort", float_storage_bits=(8, 4))
LITE = replace(PROFILE, name="lite", float_storage_bits=(8,), int8_operators=("Conv",))
SPACES = RuntimeSpaces.of(FakeNetwork(), [ORT, LITE])
INT8 = SPACES.widest.uniform_int8()
SOME = Recipe(precision={"layer0": "w8"})


def choice(**latencies: float) -> RuntimeChoice:
    expected = {name: Expected(size=0.3, latency=one, deviation=0.05) for name, one in latencies.items()}
    return RuntimeChoice(spaces=SPACES, expected=lambda recipe: expected)


def test_the_widest_space_has_what_any_runtime_has():
    for name, own in SPACES.own.items():
        for layer, choices in own.precisions.items():
            assert set(choices) <= set(SPACES.widest.precisions[layer]), name
    assert "w4" in SPACES.widest.precisions["layer0"]
    assert "w4" not in SPACES.own["lite"].precisions["layer0"]


def test_channel_counts_suit_every_runtime():
    profiles = [replace(ORT, channel_multiple=8), replace(LITE, channel_multiple=12)]
    spaces = RuntimeSpaces.of(FakeNetwork((48, 10)), profiles)
    for space in (spaces.widest, *spaces.own.values()):
        assert all(count % 24 == 0 for group in space.groups for count in group.levels)


def test_a_runtime_without_a_level_is_left_out_and_named_with_the_level():
    left_out = choice(ort=0.9, lite=0.2).left_out(Recipe(precision={"layer0": "w4"}))
    assert left_out == {"lite": "no w4 there (for layer0)"}


def test_a_runtime_that_is_predicted_to_be_clearly_slower_is_left_out():
    assert choice(ort=0.9, lite=0.5).left_out(SOME).keys() == {"ort"}
    assert choice(ort=0.52, lite=0.5).left_out(SOME) == {}


def test_a_clearly_smaller_file_is_worth_a_measurement():
    expected = {
        "ort": Expected(size=0.20, latency=0.9, deviation=0.05),
        "lite": Expected(size=0.30, latency=0.5, deviation=0.05),
    }
    assert RuntimeChoice(spaces=SPACES, expected=lambda recipe: expected).left_out(SOME) == {}
    expected["ort"] = replace(expected["ort"], latency=1.1)
    assert RuntimeChoice(spaces=SPACES, expected=lambda recipe: expected).left_out(SOME).keys() == {"ort"}


@pytest.mark.parametrize("recipe", [Recipe(), INT8], ids=["original", "uniform int8"])
def test_the_original_and_uniform_int8_are_measured_in_every_runtime_that_can(recipe):
    everywhere = RuntimeSpaces.of(FakeNetwork(), [ORT, replace(ORT, name="lite")])
    subject = replace(choice(ort=0.9, lite=0.1), spaces=everywhere)
    assert subject.left_out(recipe) == {}
    assert replace(subject, unusable={"lite": "no LayerNorm"}).left_out(recipe) == {"lite": "no LayerNorm"}


def test_what_no_runtime_takes_is_refused():
    subject = replace(choice(ort=0.9, lite=0.5), unusable={"ort": "it cannot run the original"})
    assert subject.refusal(SOME) is None
    assert "no w4" in str(subject.refusal(Recipe(precision={"layer0": "w4"})))


def test_levels_that_a_runtime_lacks_cost_more_there_than_any_box():
    slots = tuple(
        Slot(name=f"precision/{layer}", levels=len(choices), original=0)
        for layer, choices in SPACES.widest.precisions.items()
    )
    constant = Term(scope=(), size=np.ones(2), latency=np.array([0.9, 0.5]))
    problem = LevelProblem(slots=slots, terms=(constant,), alternatives=True)
    refused = SPACES.with_refusals(problem, ["ort", "lite"])
    w4 = SPACES.widest.precisions["layer0"].index("w4")
    levels = (w4, *(0 for _ in slots[1:]))
    assert refused.latency(problem.original) == 0.5 and refused.latency(levels) == 0.9
    assert refused.latencies(levels)[1] > ILLEGAL
