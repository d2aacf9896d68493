"""Recipes: a name for target, limits, budget and policy."""

import subprocess
import sys

import pytest
from autocompress.errors import InputError
from autocompress.nightly.search_recipe import BUILT_IN, named_recipe, read_recipes
from autocompress.profiles import load_profile


@pytest.mark.parametrize("recipe", BUILT_IN.values(), ids=str)
def test_those_of_the_package_name_targets_that_there_are(recipe):
    assert load_profile(recipe.options.get("target", "cpu")).name == (recipe.target or "cpu")
    assert recipe.about


def test_the_users_own_stand_beside_those_of_the_package(tmp_path):
    (tmp_path / "recipes.toml").write_text(
        '[recipe.tiny]\npolicy = "smallest within 2pp"\nmax_size = "50KB"\nbudget = "5m"\n'
    )
    recipes = read_recipes(tmp_path / "recipes.toml")
    assert recipes["tiny"].options == {"max_size": ("50KB",), "budget": "5m"}
    assert set(recipes) == {*BUILT_IN, "tiny"} and read_recipes(tmp_path / "none.toml") == BUILT_IN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[recipe.x]\npolicy = "smallest"', "may"),
        ('[recipe.x]\nmax_drop = "1pp"', "policy"),
        ('[recipe.x]\npolicy = "fastest within 1pp"\nmax_dorp = "1pp"', "did you mean 'max_drop'"),
        ('[recipe."a b"]\npolicy = "fastest within 1pp"', "no name of a recipe"),
        ('[recipe.x]\npolicy = "fastest within 1pp"\nbudget = "5"', "recipe.x.*unit"),
    ],
)
def test_a_wrong_recipe_is_one_sentence_with_the_file(tmp_path, text, words):
    (tmp_path / "recipes.toml").write_text(text)
    with pytest.raises(InputError, match=f"recipes.toml.*{words}" if words != "may" else "recipes.toml"):
        read_recipes(tmp_path / "recipes.toml")


def test_an_unknown_one_lists_those_that_there_are(tmp_path):
    with pytest.raises(InputError, match=r"no recipe 'x': choose .*jetson-30fps.*smallest-within-1pp\."):
        named_recipe(BUILT_IN, "x")
    command = [sys.executable, "-m", "autocompress", "search", "--recipe", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and "There is no recipe 'x': choose" in done.stderr


@pytest.mark.parametrize(
    ("options", "run"),
    [((), "runs/digits-raspberry-pi-5."), (("--target", "cpu"), "runs/digits-cpu.")],
)
def test_an_option_that_is_given_replaces_the_recipes_own(tmp_path, options, run):
    command = [sys.executable, "-m", "autocompress", "search", "--recipe", "raspberry-pi-10fps", "--dry-run"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0 and run in done.stdout, done.stderr
