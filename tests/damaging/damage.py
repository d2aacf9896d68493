"""Seeded damage of any file: what a bad disk, a half-done copy, an editor or another program makes of it."""

import json
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

Draw = random.Random
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?")
NUMBERS = (b"1e999", b"-1", b"NaN", b"9" * 400, b"9" * 5000, b"1e300", b"0", b"null", b'"7"', b"true")
OTHER_KINDS = (
    b"\x89PNG\r\n\x1a\n" + bytes(60),
    b"PK\x03\x04" + bytes(60),
    b"SQLite format 3\0" + bytes(200),
    b"\x08\x0a" + bytes(60),
    b"\x80\x02}q\x00.",
    b"\x93NUMPY\x01\x00v\x00" + bytes(118),
    b"#!/bin/sh\nexit 0\n",
    b"{}",
    b"[]",
    b"null",
    b"7",
)


def flips(data: bytes, draw: Draw) -> bytes:
    """One to eight bits turned over."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 8])):
        changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def head(data: bytes, draw: Draw) -> bytes:
    """One to three bytes of the first hundred changed: a header."""
    changed = bytearray(data)
    for _ in range(draw.randrange(1, 4)):
        changed[draw.randrange(min(100, len(data)))] = draw.randrange(256)
    return bytes(changed)


def cut(data: bytes, draw: Draw) -> bytes:
    """The end missing."""
    return data[: draw.randrange(len(data))]


def hole(data: bytes, draw: Draw) -> bytes:
    """A block of zeros, or of noise."""
    start, size = draw.randrange(len(data)), draw.choice([16, 512, 4096])
    size = min(size, len(data) - start)
    block = bytes(size) if draw.random() < 0.5 else draw.randbytes(size)
    return data[:start] + block + data[start + size :]


def swapped(data: bytes, draw: Draw) -> bytes:
    """Two halves that changed places."""
    place = draw.randrange(len(data))
    return data[place:] + data[:place]


def longer(data: bytes, draw: Draw) -> bytes:
    """Something behind the end, or everything twice."""
    return data + draw.choice([data, b"\0" * 40, b"more"])


def empty(data: bytes, draw: Draw) -> bytes:
    """Nothing."""
    return b""


def other_kind(data: bytes, draw: Draw) -> bytes:
    """A file of another kind under this name."""
    return draw.choice(OTHER_KINDS)


def not_utf8(data: bytes, draw: Draw) -> bytes:
    """A byte that no text has."""
    place = draw.randrange(len(data))
    return data[:place] + draw.choice([b"\xff", b"\xe4", b"\0"]) + data[place:]


def deep(data: bytes, draw: Draw) -> bytes:
    """Nesting without end."""
    return draw.choice([b"[" * 100_000, b'{"a":' * 100_000, b"a = " + b"[" * 100_000])


def number(data: bytes, draw: Draw) -> bytes:
    """A number of the text replaced by an impossible one."""
    places = list(NUMBER.finditer(data))
    if not places:
        return flips(data, draw)
    place = draw.choice(places)
    return data[: place.start()] + draw.choice(NUMBERS) + data[place.end() :]


def entry(data: bytes, draw: Draw) -> bytes:
    """A key of a JSON object gone, renamed, of another type, or with the value of another key."""
    try:
        value = json.loads(data)
    except ValueError:
        return line(data, draw)
    objects = [each for each in _objects(value) if each]
    if not objects:
        return flips(data, draw)
    holder = draw.choice(objects)
    key, other = draw.choice(list(holder)), draw.choice(list(holder))
    how = draw.randrange(4)
    if how == 0:
        del holder[key]
    elif how == 1:
        holder[f"{key}x"] = holder.pop(key)
    elif how == 2:
        holder[key] = draw.choice([None, [], {}, "text", -1, True, 1e300, 10**400, "\ud800"])
    else:
        holder[key], holder[other] = holder[other], holder[key]
    return json.dumps(value).encode()


def version(data: bytes, draw: Draw) -> bytes:
    """Another schema version."""
    changed = re.sub(
        rb'("schema_version": ?)\d+', lambda match: match[1] + draw.choice([b"0", b"99", b'"3"']), data
    )
    return changed if changed != data else entry(data, draw)


def line(data: bytes, draw: Draw) -> bytes:
    """A line gone, twice, or at another place."""
    lines = data.splitlines(keepends=True)
    if len(lines) < 2:
        return flips(data, draw)
    place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    taken = lines.pop(place) if draw.random() < 0.6 else lines[place]
    if draw.random() < 0.6:
        lines.insert(other, taken)
    return b"".join(lines)


def _objects(value: Any) -> list[dict[str, Any]]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    inner = [each for part in parts for each in _objects(part)]
    return [value, *inner] if isinstance(value, dict) else inner


BINARY = (flips, flips, head, cut, hole, swapped, longer, empty, other_kind)
TEXT = (*BINARY, number, number, entry, entry, entry, version, line, not_utf8, deep)


def damage(path: Path, draw: Draw, ways: tuple[Callable[[bytes, Draw], bytes], ...]) -> str:
    """Damages the file, and says how. A few become a folder, or the tables of SQLite others."""
    data = path.read_bytes()
    if draw.random() < 0.04:
        path.unlink()
        path.mkdir()
        return "a folder"
    if data.startswith(b"SQLite") and draw.random() < 0.15:
        _other_tables(path, draw)
        return "other tables"
    way, changed = draw.choice(ways), data
    while changed == data:
        changed = way(data, draw)
    path.write_bytes(changed)
    return way.__name__


def _other_tables(path: Path, draw: Draw) -> None:
    """Tables gone or with other columns."""
    with closing(sqlite3.connect(path)) as connection, connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = draw.choice(tables)
        connection.execute(f'ALTER TABLE "{table}" RENAME TO "{table}2"')
        if draw.random() < 0.5:
            connection.execute(f'CREATE TABLE "{table}" (x BLOB)')


def copied(real: Path, folder: Path) -> Path:
    """A copy of the folder of real files."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(real, folder)
    return folder
