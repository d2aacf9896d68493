"""RunConfig: what a run is, as run.toml keeps it, and what differs between two of them."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunDirectoryError
from ..files import digest_of, read_text, user_key

CONFIGURATION = "run.toml"
_FORMAT, _TARGETS = "format", "target"
_SUMMARIES = frozenset({"task definition", "profile"})  # they change with others, which tell more


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run is: `identity` must be unchanged to continue (flat: name → text), `options` may change from
    call to call.
    """

    identity: Mapping[str, str]
    options: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "RunConfig":
        """The configuration of the run in the directory `path`. RunDirectoryError when it is damaged."""
        file = path / CONFIGURATION
        try:
            value = tomllib.loads(read_text(file))
            identity, options = value.get("identity"), value.get("options")
        except (OSError, ValueError, RecursionError) as error:
            raise _unreadable(file, str(error)) from error
        if not isinstance(identity, dict) or not all(isinstance(text, str) for text in identity.values()):
            raise _unreadable(file, "[identity] must be there and hold texts")
        if not isinstance(options, dict):
            raise _unreadable(file, "[options] must be there")
        return cls(identity=identity, options=options)

    @property
    def search_folder(self) -> Path | None:
        """Where the search ran; None where that is not known, or somebody else says so."""
        folder = self.options.get("folder")
        if not isinstance(folder, str) or self.options.get("folder_mark") != _mark(folder):
            return None
        return Path(folder)

    def to_toml(self) -> str:
        """The content of run.toml."""
        lines = [
            "# Written by autocompress; a run is continued only while [identity] is unchanged.",
            "",
            "[identity]",
        ]
        lines += [f"{_quoted(key)} = {_quoted(value)}" for key, value in self.identity.items()]
        lines += ["", "[options]"]
        options = {key: value for key, value in self.options.items() if value is not None}
        lines += [f"{_quoted(key)} = {_toml(value)}" for key, value in options.items()]
        return "\n".join(lines) + "\n"

    def differences(self, other: "RunConfig") -> tuple[str, ...]:
        """Names of the identity's entries that differ. What is not known of a target that was away does not
        count.
        """
        names = [*self.identity, *(name for name in other.identity if name not in self.identity)]
        changed = tuple(
            name
            for name in names
            if self.identity.get(name) != other.identity.get(name)
            and _is_known(name, self.identity)
            and _is_known(name, other.identity)
        )
        for name in (_FORMAT, _TARGETS):
            if name in changed:  # what else differs comes of it
                return (name,)
        specific = tuple(name for name in changed if name not in _SUMMARIES)
        return specific or changed


def folder_options(folder: Path) -> dict[str, str]:
    """Where a search ran, for [options]; with a mark that only this user can make."""
    return {"folder": str(folder), "folder_mark": _mark(str(folder))}


def _mark(folder: str) -> str:
    return digest_of([user_key(), folder])


def _unreadable(file: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{file} cannot be read ({reason}): restore it, or give --out another directory."
    )


def _is_known(name: str, identity: Mapping[str, str]) -> bool:
    """Whether the identity can have this entry: nothing of the environment of a target that was away."""
    target, separator, _ = name.partition("environment.")
    return not separator or any(entry.startswith(target + separator) for entry in identity)


def _toml(value: Any) -> str:
    """A TOML value: text, number, boolean or a list of these."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """A TOML basic string. JSON's escapes are a subset of TOML's; what cannot be seen is escaped, too, and a
    byte of a path that is no UTF-8 is written as text, since TOML has no escape for it.
    """
    valid = text.encode("utf-8", "backslashreplace").decode()
    quoted = json.dumps(valid, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in quoted)
