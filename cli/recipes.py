"""Recipes for `search`: those of the package, and the user's in ~/.config/autocompress/recipes.toml."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..nightly.search_recipe import SearchRecipe


def recipe_named(name: str) -> "SearchRecipe":
    """The recipe of this name. InputError lists those that there are."""
    from ..nightly.search_recipe import named_recipe, read_recipes

    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return named_recipe(read_recipes(Path(base) / "autocompress" / "recipes.toml"), name)


def given_or(context: typer.Context, option: str, value: str, other: str | None) -> str:
    """The value of an option if the user gave it, or `other` where that is one."""
    source = context.get_parameter_source(option)
    return value if other is None or source is None or source.name != "DEFAULT" else other
