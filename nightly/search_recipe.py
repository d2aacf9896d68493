"""SearchRecipe: a name for a usual wish: target, limits, budget, and which point is wanted.

Some come with the package. Others stand in a TOML file, `[recipe.NAME]`, or in serve.toml.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_text
from ..profiles.units import parse_budget
from ..results.choosing.policy import Policy
from ..results.records.reading import Fields, Unfit
from ..results.target_limits import limits_of, target_addresses
from .config import is_model_name
from .strict_table import StrictTable

_KEYS = (
    "target", "max_drop", "max_latency", "max_size", "max_energy", "budget", "trials", "policy", "about"
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRecipe:
    """The options of `search` that it stands for, texts with units as the command takes them. `policy` says
    which point of the front is wanted. InputError for what the command would refuse.
    """

    name: str
    policy: str
    about: str = ""
    target: str | None = None
    max_drop: str | None = None
    max_latency: tuple[str, ...] = ()
    max_size: tuple[str, ...] = ()
    max_energy: tuple[str, ...] = ()
    budget: str | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        Policy.parse(self.policy)
        limits_of(
            list(target_addresses(self.target or "cpu")),
            max_drop=self.max_drop,
            max_latency=self.max_latency,
            max_size=self.max_size,
            max_energy=self.max_energy,
        )
        if self.budget is not None:
            parse_budget(self.budget)

    @property
    def options(self) -> dict[str, Any]:
        """What it says of the options of `search`, by their names; what it leaves open is not there."""
        value = asdict(self)
        return {name: one for name, one in value.items() if name not in ("name", "policy", "about") and one}


BUILT_IN: Mapping[str, SearchRecipe] = {
    one.name: one
    for one in (
        SearchRecipe(
            name="smallest-within-1pp",
            about="the smallest file that loses at most one percentage point",
            policy="smallest within 1pp",
            max_drop="1pp",
        ),
        SearchRecipe(
            name="fastest-within-1pp",
            about="the lowest latency that loses at most one percentage point",
            policy="fastest within 1pp",
            max_drop="1pp",
        ),
        SearchRecipe(
            name="jetson-30fps",
            about="the best quality at 30 pictures a second on a Jetson Orin Nano",
            policy="most accurate within 33ms",
            target="jetson-orin-nano",
            max_latency=("33ms",),
        ),
        SearchRecipe(
            name="raspberry-pi-10fps",
            about="the best quality at 10 pictures a second on a Raspberry Pi 5",
            policy="most accurate within 100ms",
            target="raspberry-pi-5",
            max_latency=("100ms",),
        ),
    )
}


def recipes_in(tables: Fields) -> dict[str, SearchRecipe]:
    """The recipes of the table `recipe` of a TOML file. Unfit names the key that is wrong."""
    return tables.each("recipe", _recipe) if tables.has("recipe") else {}


def read_recipes(file: Path) -> dict[str, SearchRecipe]:
    """The recipes of the package and those of a file, where there is one; its own come first. InputError
    names the file and the key.
    """
    try:
        top = StrictTable(tomllib.loads(read_text(file)), "", ("recipe",))
        return {**BUILT_IN, **recipes_in(top.fields)}
    except FileNotFoundError:
        return dict(BUILT_IN)
    except (Unfit, InputError, ValueError, OSError) as error:
        raise InputError(f"{file}: {str(error).rstrip('.')}.") from error


def named_recipe(recipes: Mapping[str, SearchRecipe], name: str) -> SearchRecipe:
    """The recipe of this name. InputError lists those that there are."""
    if name not in recipes:
        raise InputError(f"There is no recipe {name!r}: choose {', '.join(sorted(recipes))}.")
    return recipes[name]


def _recipe(tables: Fields, name: str) -> SearchRecipe:
    if not is_model_name(name):
        raise Unfit(f"{tables.at(name)} is no name of a recipe: it has letters, digits, _ and -")
    table = StrictTable(tables.value(name), tables.at(name), _KEYS)
    read = table.fields
    try:
        return SearchRecipe(
            name=name,
            policy=read.text("policy"),
            about=table.get("about", read.text, ""),
            target=table.get("target", read.text, None),
            max_drop=table.get("max_drop", read.text, None),
            max_latency=table.get("max_latency", table.texts, ()),
            max_size=table.get("max_size", table.texts, ()),
            max_energy=table.get("max_energy", table.texts, ()),
            budget=table.get("budget", read.text, None),
            trials=table.get("trials", lambda key: read.whole(key, least=1), None),
        )
    except InputError as error:
        raise Unfit(f"{tables.at(name)}: {error}") from error
