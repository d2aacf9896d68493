"""A recipe is read strictly: what is wrong is one sentence that names the place and what was expected."""

import json
from typing import Any

import pytest
from autocompress.compress.recipe import Recipe, Recovery

RECOVERY = Recovery(steps=3, learning_rate=1e-3, temperature=2.0, weight=0.5)
RECIPE = Recipe(keep={"layer1": 8}, precision={"fc": "int8"}, rank={"fc": 4}, skip=("b",), recovery=RECOVERY)


def _json() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(RECIPE.to_json()))
    return value


def test_a_recipe_is_its_json():
    assert Recipe.from_json(_json()) == RECIPE
    assert Recipe.from_json(_json()).digest == RECIPE.digest


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("keep.layer1", -3, r"keep\['layer1'\] is -3, but must be a whole number of at least 1"),
        ("keep.layer1", True, r"keep\['layer1'\] is True, but must be a whole number"),
        ("rank.fc", 4.0, r"rank\['fc'\] is 4.0, but must be a whole number"),
        ("rank.fc", "4", r"rank\['fc'\] is '4', but must be a whole number"),
        ("precision.fc", "int7", r"precision\['fc'\] is 'int7', but must be one of float32, int8"),
        ("precision.fc", ["int8"], r"precision\['fc'\] is \['int8'\], but must be one of"),
        ("keep", [8], r"keep is \[8\], but must be an object"),
        ("skip", "b", "skip is 'b', but must be a list of block names"),
        ("skip", [1], r"skip\[0\] is 1, but must be the name of a block"),
        ("recovery", 0, "recovery is 0, but must be an object with steps, learning_rate"),
        ("recovery.steps", 0, "recovery.steps is 0, but must be a whole number of at least 1"),
        ("recovery.learning_rate", 0, "recovery.learning_rate is 0, but must be a finite number above 0"),
        ("recovery.temperature", float("nan"), "recovery.temperature is nan, but must be a finite number"),
        ("recovery.temperature", False, "recovery.temperature is False, but must be a finite number"),
        ("recovery.weight", 1.5, "recovery.weight is 1.5, but must be at most 1"),
        ("recovery.hardness", -0.1, "recovery.hardness is -0.1, but must be a finite number of at least 0"),
        ("recovery.features", float("inf"), "recovery.features is inf, but must be a finite number"),
        ("recovery.pace", 1, "recovery has an unknown key 'pace'"),
        ("pace", 1, "recipe has an unknown key 'pace'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(place: str, value: object, sentence: str):
    recipe = _json()
    *outer, key = place.split(".")
    part = recipe
    for name in outer:
        part = part[name]
    part[key] = value
    with pytest.raises(ValueError, match=sentence):
        Recipe.from_json(recipe)


@pytest.mark.parametrize("key", RECIPE.to_json())
def test_a_missing_key_is_refused(key: str):
    recipe = _json()
    del recipe[key]
    with pytest.raises(ValueError, match=f"recipe has no '{key}': it must have keep, precision"):
        Recipe.from_json(recipe)


@pytest.mark.parametrize("key", RECIPE.to_json()["recovery"])
def test_a_missing_key_of_the_recovery_is_refused(key: str):
    recipe = _json()
    del recipe["recovery"][key]
    with pytest.raises(ValueError, match=f"recovery has no '{key}': it must have steps"):
        Recipe.from_json(recipe)


@pytest.mark.parametrize("value", [None, 3, [], "recipe"])
def test_what_is_no_object_is_no_recipe(value: object):
    with pytest.raises(ValueError, match="but must be an object with keep, precision, rank, skip, recovery"):
        Recipe.from_json(value)
