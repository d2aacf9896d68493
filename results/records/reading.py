"""Strict reading of JSON: a record asks for each value by its type, and what does not fit names its place.

`parse` makes a JSON value of text. `Fields` hands out the values of one JSON object. Both raise Unfit, whose
text is the rest of a sentence that begins with the file: `points[3].drop is "a", but must be a number.`
"""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ...files import DIGEST, digest_of, is_inside
from ...profiles.address import is_target_name

T = TypeVar("T")
Interval = tuple[float, float]

LONGEST_SHOWN = 60  # characters of a value in a message


class Unfit(ValueError):  # noqa: N818 - what a value is, not what went wrong
    """A value that does not fit; `str()` names its place, the value and what is expected."""


def require_finite(**numbers: float | None) -> None:
    """Raises ValueError for the first number that is not finite."""
    for name, value in numbers.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} is {value}, but must be a finite number.")


def require_inside(interval: Interval | None, **numbers: float | None) -> None:
    """Raises ValueError when the interval does not hold the number."""
    for name, value in numbers.items():
        if interval is not None and (value is None or not interval[0] <= value <= interval[1]):
            raise ValueError(f"{name}_interval is {list(interval)}, which does not hold {name}, {value}.")


def parse(text: str) -> Any:
    """The JSON value of a text. Unfit when it is no JSON, has NaN, a number that no float holds or a key
    twice, or is nested too deeply.
    """
    try:
        value = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique
        )
        if "\\ud" in text.lower():  # half a character cannot be written again
            json.dumps(value, ensure_ascii=False).encode()
    except Unfit:
        raise
    except ValueError as error:
        raise Unfit(f"is no JSON ({error})") from error
    except RecursionError as error:
        raise Unfit("is nested too deeply") from error
    return value


def _refuse_constant(name: str) -> Any:
    raise Unfit(f"has the number {name}, but every number must be finite")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise Unfit(f"has the key {max(names, key=names.count)!r} twice")
    return value


class Fields:
    """The values of one JSON object, by key. `place` says where it is in its file, such as `points[3]`."""

    def __init__(self, value: object, place: str = ""):
        self.place = place
        if not isinstance(value, dict):
            raise Unfit(f"{place or 'it'} is {_shown(value)}, but must be an object")
        self._values: dict[str, Any] = value
        self._asked: set[str] = set()

    def record(self, make: Callable[[], T]) -> T:
        """What `make` builds of these fields. Unfit when it refuses them, or leaves a key unread."""
        try:
            made = make()
        except Unfit:
            raise
        except (ValueError, OverflowError) as error:
            raise Unfit(f"{self.place or 'it'} does not fit: {error}") from error
        if unknown := sorted(self._values.keys() - self._asked):
            raise Unfit(f"{self.at(unknown[0])} is unknown to this version")
        return made

    def sealed(self, read: "Callable[[Fields], T]") -> T:
        """What `read` makes of an object that `seal` closed. Unfit when its digest is another."""
        stated, made = self.text(DIGEST), read(self)
        rest = {key: value for key, value in self._values.items() if key != DIGEST}
        try:
            actual = digest_of(rest)
        except (ValueError, RecursionError) as error:
            raise Unfit(f"has a value that no record has ({error})") from error
        if stated != actual:
            raise Unfit("is damaged: its digest does not match its content")
        return made

    def at(self, key: str) -> str:
        """The place of a key."""
        return f"{self.place}.{key}" if self.place else key

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._values

    def value(self, key: str) -> Any:
        """Any JSON value."""
        self._asked.add(key)
        if key not in self._values:
            raise Unfit(f"{self.at(key)} is missing")
        return self._values[key]

    def maybe(self, key: str, read: Callable[[str], T]) -> T | None:
        """What `read` makes of the key, None where the value is null."""
        return None if self.value(key) is None else read(key)

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """The same, and None where the key is missing: files of earlier versions do not have it."""
        return self.maybe(key, read) if self.has(key) else None

    def text(self, key: str) -> str:
        """A text."""
        return _text(self.value(key), self.at(key))

    def target(self, key: str) -> str:
        """The name of a target, which may become that of a folder."""
        value = self.text(key)
        return value if is_target_name(value) else self._refuse(key, "a name of letters, digits, . _ and -")

    def path(self, key: str) -> str:
        """The path of a file relative to the folder of the record's file; it stays below it."""
        value = self.text(key)
        return value if is_inside(value) else self._refuse(key, "a relative path without ..")

    def choice(self, key: str, choices: Iterable[T]) -> T:
        """One of `choices`."""
        value, allowed = self.value(key), list(choices)
        if isinstance(value, bool) or value not in allowed:
            self._refuse(key, f"one of {', '.join(map(str, allowed))}")
        return allowed[allowed.index(value)]

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            self._refuse(key, "true or false")
        return bool(value)

    def whole(self, key: str, *, least: int = 0) -> int:
        """A whole number of at least `least`, in 64 bits."""
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
            self._refuse(key, f"a whole number of at least {least}")
        return int(value)

    def number(self, key: str) -> float:
        """A finite number."""
        return _number(self.value(key), self.at(key), "a finite number")

    def amount(self, key: str) -> float:
        """A number of at least 0."""
        value = _number(self.value(key), self.at(key), "a number of at least 0")
        return value if value >= 0 else self._refuse(key, "a number of at least 0")

    def positive(self, key: str) -> float:
        """A number above 0."""
        value = _number(self.value(key), self.at(key), "a number above 0")
        return value if value > 0 else self._refuse(key, "a number above 0")

    def interval(self, key: str) -> Interval:
        """A pair of finite numbers, the lower one first."""
        value = self.value(key)
        if not isinstance(value, list) or len(value) != 2:
            self._refuse(key, "a pair of numbers")
        low, high = (_number(end, self.at(key), "a pair of numbers") for end in value)
        return (low, high) if low <= high else self._refuse(key, "a pair of numbers, the lower one first")

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(_text(value, place) for place, value in self._elements(key))

    def flags(self, key: str) -> tuple[bool, ...]:
        """A list of true and false."""
        for place, value in self._elements(key):
            if not isinstance(value, bool):
                raise Unfit(f"{place} is {_shown(value)}, but must be true or false")
        return tuple(self.value(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(_number(value, place, "a finite number") for place, value in self._elements(key))

    def object(self, key: str) -> "Fields":
        """An object."""
        return Fields(self.value(key), self.at(key))

    def objects(self, key: str) -> "list[Fields]":
        """A list of objects."""
        return [Fields(value, place) for place, value in self._elements(key)]

    def each(self, key: str, read: "Callable[[Fields, str], T]") -> dict[str, T]:
        """What `read(fields, name)` makes of each entry of an object, by its name."""
        entries = self.object(key)
        return {name: read(entries, name) for name in entries._values}

    def _elements(self, key: str) -> list[tuple[str, Any]]:
        values = self.value(key)
        if not isinstance(values, list):
            self._refuse(key, "a list")
        return [(f"{self.at(key)}[{index}]", value) for index, value in enumerate(values)]

    def _refuse(self, key: str, expected: str) -> Any:
        raise Unfit(f"{self.at(key)} is {_shown(self._values[key])}, but must be {expected}")


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise Unfit(f"{place} is {_shown(value)}, but must be a text")
    return value


def _number(value: object, place: str, expected: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unfit(f"{place} is {_shown(value)}, but must be {expected}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Unfit(f"{place} is too large: it must be {expected}")
    return number


def _shown(value: object) -> str:
    """The value as JSON, shortened."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
