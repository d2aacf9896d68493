"""Seeded damage of a JSON file: what an editor, a bad disk or a half-done copy makes of it."""

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

NOT_FINITE = "a number that is not finite"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything inside the value."""
    entries: Any = []
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


def damaged(value: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """The value with one place damaged: a missing key, a wrong type, an impossible number, deep nesting."""
    draw, result = random.Random(seed), deepcopy(value)
    path = draw.choice([path for path in places(value) if isinstance(path[-1], str)])
    holder: Any = result
    for key in path[:-1]:
        holder = holder[key]
    before = holder[path[-1]]
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    wrong = [7, "text", True, None, [], {}, -1, -0.5, 10**400, 1e300, NOT_FINITE, deep]
    choices = [item for item in wrong if item != before]
    if draw.random() < 0.3:
        del holder[path[-1]]
    else:
        holder[path[-1]] = draw.choice(choices)
    return result


def text_of(value: dict[str, Any]) -> str:
    """The value as JSON text."""
    return json.dumps(value).replace(json.dumps(NOT_FINITE), "Infinity")


def without_nulls(value: Any) -> Any:
    """The value without entries that say the same when they are missing: null, and `emulated` false."""
    if isinstance(value, dict):
        stated = {key: inner for key, inner in value.items() if inner is not None}
        return {
            key: without_nulls(inner) for key, inner in stated.items() if (key, inner) != ("emulated", False)
        }
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
