"""A table of a TOML file with known keys only."""

import difflib
from collections.abc import Callable, Collection
from typing import TypeVar

from ..results.records.reading import Fields, Unfit

T = TypeVar("T")


class StrictTable:
    """A table of the file that has no other keys than `allowed`. Unfit names the nearest of them."""

    def __init__(self, value: object, place: str, allowed: Collection[str]):
        self.fields = Fields(value, place)
        keys = list(value) if isinstance(value, dict) else []
        for key in keys:
            if key not in allowed:
                near = difflib.get_close_matches(key, sorted(allowed), n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise Unfit(f"unknown key {self.fields.at(key)!r}: {hint}Allowed are {', '.join(allowed)}")

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return self.fields.has(key)

    def get(self, key: str, read: Callable[[str], T], default: T) -> T:
        """What `read` makes of the key; the default where it is not there."""
        return read(key) if self.has(key) else default

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one text is a list of one."""
        value = self.fields.value(key)
        return (value,) if isinstance(value, str) else self.fields.texts(key)
