"""Sensitivity: what is measured first, kept and bounded in time, and a loss for every level of every slot."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from autocompress.compress.graph.network import Network
from autocompress.compress.levels.database import LevelDatabase
from autocompress.compress.levels.reconstruct import Removal
from autocompress.compress.recipe import Precision, Recipe
from autocompress.errors import OutOfTime
from autocompress.explore.rungs.sensitivity import Sensitivity, measure_sensitivity, plan_changes
from autocompress.explore.space.space import GroupLevels, SearchSpace

PRECISIONS: tuple[Precision, ...] = ("float32", "int8", "int6", "int4", "int3", "int2", "block4")
SPACE = SearchSpace(
    groups=tuple(GroupLevels(name=name, layers=(name,), levels=(8, 16, 24, 32)) for name in ("a", "b")),
    precisions={"a": PRECISIONS, "b": PRECISIONS, "c": ("float32", "int8")},
    ranks={"c": (8, 16, 24)},
    blocks={"block": ("b",)},
    ruled_out={},
)


class FakeProbe:
    """A KL for every recipe but those in `failing`; `asked` are those that it was asked for and gave."""

    def __init__(self, failing=()):
        self.failing, self.asked = failing, []

    def sensitivities(self, recipes):
        for recipe in recipes:
            self.asked.append(recipe)
            if recipe not in self.failing:
                yield recipe, 0.01 * len(self.asked)


class Limited:
    """Time for so many measurements."""

    def __init__(self, count):
        self.left = count

    def __call__(self):
        self.left -= 1
        return self.left >= 0


def measured(probe, path, time_left=lambda: True):
    return measure_sensitivity(SPACE, probe, path, time_left=time_left, progress=lambda _: None)


def slot_of(recipe):
    (kind, changed) = next((kind, value) for kind, value in recipe.to_json().items() if value)
    return kind, next(iter(changed))


def test_the_activations_of_a_layer_cost_the_same_whatever_the_bits_of_its_weights():
    choices: tuple[Precision, ...] = ("float32", "int8", "int4", "w8", "w4")
    space = replace(SPACE, precisions={"a": choices, "b": choices, "c": ("float32", "w4", "w2")})
    asked = [str(dict(recipe.precision)) for recipe in plan_changes(space) if recipe.precision]
    expected = ["{'a': 'int8'}", "{'a': 'w4'}", "{'b': 'int8'}", "{'b': 'w4'}", "{'c': 'w2'}", "{'c': 'w4'}"]
    assert sorted(asked) == expected
    values = {Recipe(precision={"a": "w4"}).digest: 0.5, Recipe(precision={"a": "int8"}).digest: 0.3}
    found = Sensitivity(measured=values, complete=False)
    _, int8, int4, w8, w4 = found.losses(space)["precision/a"]
    assert w4 == 0.5 and int8 == pytest.approx(0.3) and int4 - w4 == pytest.approx(int8 - w8) and w8 < int8
    assert found.known(space)["precision/a"] == [True, True, True, False, True]
    _, int8, _, w8, _ = found.losses(space)["precision/b"]
    assert int8 - w8 == pytest.approx(
        found.losses(space)["precision/a"][1] - found.losses(space)["precision/a"][3]
    )


def test_every_slot_has_its_first_change_before_any_has_its_second():
    slots = [slot_of(recipe) for recipe in plan_changes(SPACE)]
    assert len(set(slots[:7])) == 7 == len(set(slots)) and max(map(slots.count, slots)) == 2


def test_every_planned_recipe_is_in_the_space_and_changes_one_thing():
    for recipe in plan_changes(SPACE):
        parameters, original = SPACE.parameters(recipe), SPACE.parameters(Recipe())
        assert sum(parameters[name] != original[name] for name in original) == 1


def test_a_second_run_repeats_nothing(tmp_path):
    first = measured(FakeProbe(), tmp_path / "sensitivity.json")
    probe = FakeProbe()
    assert measured(probe, tmp_path / "sensitivity.json") == first and first.complete and not probe.asked


def test_time_bounds_the_measurement_and_the_next_run_goes_on(tmp_path):
    probe, path = FakeProbe(), tmp_path / "sensitivity.json"
    found = measured(probe, path, Limited(3))
    assert len(found.measured) == len(probe.asked) == 3 and not found.complete
    rest = FakeProbe()
    assert measured(rest, path).complete
    assert not {recipe.digest for recipe in rest.asked} & found.measured.keys()


def test_no_time_at_all_measures_nothing_and_still_has_losses(tmp_path):
    probe = FakeProbe()
    found = measured(probe, tmp_path / "sensitivity.json", Limited(0))
    assert not probe.asked and not found.measured and min(found.losses(SPACE)["precision/a"][1:]) > 0


class Interrupted(FakeProbe):
    """A probe for whose second recipe time runs out in the middle."""

    def sensitivities(self, recipes):
        yield next(super().sensitivities(recipes))
        raise OutOfTime("The time is over.")


def test_what_was_measured_when_time_ran_out_inside_a_measurement_is_kept(tmp_path):
    found = measured(Interrupted(), tmp_path / "sensitivity.json")
    assert len(found.measured) == 1 and not found.complete
    assert measured(FakeProbe(), tmp_path / "sensitivity.json").complete


class FewOrders(LevelDatabase):
    """A level database that has made the order of removal of group `a` alone."""

    def __init__(self):
        self.network = cast(Network, SimpleNamespace(group_by_name={"a": "a", "b": "b"}))

    def known_removal(self, group):
        errors = tuple((count / 32) ** 2 for count in range(33))
        return Removal(order=tuple(range(32)), errors=errors) if group == "a" else None

    def removal(self, group):
        pytest.fail("made an order of removal")

    def known_error(self, layer, bits, *, sparse=False):
        return None


def test_losses_need_no_order_of_removal_that_was_not_made():
    unmeasured = Sensitivity(measured={}, complete=False)
    losses = unmeasured.losses(SPACE, FewOrders())
    assert losses["keep/a"][1] < losses["keep/b"][1] == unmeasured.losses(SPACE)["keep/b"][1]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema_version": 1, "measured": {"x": -1}, "failed": []}', '{"schema_version": 0}']
)
def test_a_damaged_file_is_started_anew(text, tmp_path):
    (tmp_path / "sensitivity.json").write_text(text)
    assert len(measured(FakeProbe(), tmp_path / "sensitivity.json").measured) == len(plan_changes(SPACE))


def test_a_recipe_that_failed_is_not_tried_again(tmp_path):
    failing = plan_changes(SPACE)[2]
    found = measured(FakeProbe([failing]), tmp_path / "sensitivity.json")
    probe = FakeProbe()
    assert measured(probe, tmp_path / "sensitivity.json").complete and not probe.asked
    assert failing.digest not in found.measured


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, caplog):
    (tmp_path / "levels").write_text("a file in the way")
    assert (
        measured(FakeProbe(), tmp_path / "levels" / "sensitivity.json").complete
        and "cannot be kept" in caplog.text
    )


@pytest.mark.parametrize(
    "values", [{}, {0: 0.5}, dict.fromkeys(range(20), 0.0), {n: 1e3 / (n + 1) for n in range(20)}]
)
def test_losses_are_finite_and_rise_with_coarseness(values):
    planned = plan_changes(SPACE)
    known = {planned[n].digest: value for n, value in values.items() if n < len(planned)}
    losses = Sensitivity(measured=known, complete=False).losses(SPACE)
    assert losses.keys() == SPACE.parameters(Recipe()).keys() - {"recover"}
    for name, level in SPACE.parameters(Recipe()).items():
        assert name == "recover" or losses[name][int(level)] == 0
    assert all(math.isfinite(loss) and loss >= 0 for found in losses.values() for loss in found)
    falling = [losses[name] for name in ("keep/a", "keep/b", "rank/c")]
    rising = [losses["precision/a"][:6], losses["skip/block"], *(found[::-1] for found in falling)]
    assert all(low <= high for found in rising for low, high in itertools.pairwise(found))


def test_what_was_measured_stands_and_what_lies_between_is_between():
    space_values = {Recipe(keep={"a": 8}).digest: 0.8, Recipe(keep={"a": 24}).digest: 0.1}
    losses = Sensitivity(measured=space_values, complete=False).losses(SPACE)
    low, middle, high, _ = losses["keep/a"]
    assert low == pytest.approx(0.8) and high == pytest.approx(0.1) and 0.1 < middle < 0.8
    assert losses["keep/b"][0] == pytest.approx(0.8, rel=0.01)


def test_measurements_out_of_order_are_pooled():
    values = {Recipe(precision={"a": "int2"}).digest: 0.1, Recipe(precision={"a": "int3"}).digest: 0.3}
    losses = Sensitivity(measured=values, complete=False).losses(SPACE)
    assert losses["precision/a"][4] == losses["precision/a"][5] <= 0.3
