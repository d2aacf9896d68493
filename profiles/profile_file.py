"""Profiles from TOML files: ours by name or alias, and a user's own, which inherit."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from ..errors import ProfileError
from ..files import read_text
from .profile import Datasheet, Profile
from .profile_rules import contradiction, problem, unknown_key

_DEVICES = Path(__file__).parent / "devices"
_TABLES = ("runtime_options", "channel_multiples", "datasheet")
ALIASES: Mapping[str, str] = {"jetson": "jetson-orin-nano"}


def profile_names() -> tuple[str, ...]:
    """The names of the built-in profiles, sorted; aliases are left out."""
    return tuple(sorted(path.stem for path in _DEVICES.glob("*.toml")))


def is_built_in(name: str) -> bool:
    """Whether a built-in profile is called so, or by this alias."""
    return name in (*profile_names(), *ALIASES)


def load_profile(name: str) -> Profile:
    """The profile called `name` or by an alias, or that of a TOML file if `name` ends in `.toml`. It is
    called as it was asked for.

    ProfileError says what is wrong.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise ProfileError(f"The target file {name!r} does not exist: give a TOML file, or {_choices()}.")
        return _profile(path.stem, _resolved(path, heirs=()), path)
    if (built_in := _built_in(name)) is None:
        near = difflib.get_close_matches(name, (*profile_names(), *ALIASES), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ProfileError(
            f"There is no target {name!r}: {hint}Use {_choices()}, or the path of a TOML file."
        )
    return _profile(name, _resolved(built_in, heirs=()), built_in)


def _built_in(name: str) -> Path | None:
    """The file of one of our profiles."""
    profile = ALIASES.get(name, name)
    return _DEVICES / f"{profile}.toml" if profile in profile_names() else None


def _choices() -> str:
    return f"one of {', '.join(profile_names())}"


def _resolved(path: Path, *, heirs: tuple[Path, ...]) -> dict[str, object]:
    """The file's keys over those of the profile that it inherits; tables are merged. `heirs` are the files
    that inherit from this one.

    Whether it is the same device as another is not inherited. A file with `channel_multiples` of its own does
    not inherit the step that was made for others. An option that a file gives a value counts for every model,
    whatever the inherited profile kept it for.
    """
    path = path.resolve()
    if path in heirs:
        raise ProfileError(f"{path} inherits from itself: remove its `inherits` line.")
    try:
        values: dict[str, object] = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ProfileError(f"The target file {path} cannot be read: {error}.") from error
    if wrong := unknown_key(values):
        raise ProfileError(f"{path}: {wrong}.")
    parent = values.pop("inherits", None)
    if parent is None:
        return values
    base = _resolved(_parent_path(parent, path), heirs=(*heirs, path))
    base.pop("same_device_as", None)
    if "channel_multiples" in values:
        base.pop("channel_multiple", None)
    given = values.get("runtime_options")
    if isinstance(given, dict) and isinstance(own := base.get("own_file_options"), list):
        base["own_file_options"] = [option for option in own if option not in given]
    both = [key for key in _TABLES if key in base and key in values]
    return {**base, **values, **{key: _merged(base[key], values[key]) for key in both}}


def _merged(base: object, over: object) -> object:
    """A table over another, inner tables alike; anything else replaces it (and is refused where a table is
    due).
    """
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    both = base.keys() & over.keys()
    return {**base, **over, **{key: _merged(base[key], over[key]) for key in both}}


def _parent_path(parent: object, child: Path) -> Path:
    """The file behind `inherits`: a built-in name or alias, or a TOML file relative to the inheriting one."""
    if isinstance(parent, str) and (path := _built_in(parent)) is not None:
        return path
    if isinstance(parent, str) and parent.endswith(".toml") and (child.parent / parent).is_file():
        return child.parent / parent
    raise ProfileError(
        f"{child} inherits {parent!r}, which is neither {_choices()}, nor a TOML file beside it."
    )


def _profile(name: str, values: Mapping[str, object], path: Path) -> Profile:
    """The validated profile; lists become tuples."""
    needed = {field.name for field in fields(Profile) if field.default is field.default_factory is MISSING}
    if missing := sorted(needed - {"name"} - set(values)):
        raise ProfileError(f'{path}: {", ".join(missing)} missing: add what is, or inherits = "cpu".')
    for key, value in values.items():
        if wrong := problem(key, value):
            raise ProfileError(
                f"{path}: {key} {wrong}." if key == "datasheet" else f"{path}: {key} = {value!r} {wrong}."
            )
    made: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    if "datasheet" in made:
        made["datasheet"] = Datasheet(**made["datasheet"])
    profile = Profile(name=name, **made)
    if wrong := contradiction(profile):
        raise ProfileError(f"{path}: {wrong}.")
    wanted = [
        count for precision, count in profile.channel_multiples.items() if precision in profile.precisions
    ]
    return (
        replace(profile, channel_multiple=max(wanted))
        if wanted and "channel_multiple" not in made
        else profile
    )
