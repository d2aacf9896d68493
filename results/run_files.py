"""The files of a run directory as records: front.json, finetuned/N.json and verify.json.

Each is written with the SHA-256 of its content, and read strictly: whatever does not fit is a
RunDirectoryError, one sentence that names the file, the place and the remedy. No other module makes it of an
Unfit.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import RunDirectoryError
from ..files import DIGEST, read_text, require_closed, seal, write_text
from ..text.printable import json_text
from .records.point import Point
from .records.reading import Fields, Unfit, parse
from .records.run import SCHEMA_VERSION, Run
from .records.verification import Verification
from .records.verification_versions import read_verification
from .records.version2 import point_of_version_2, run_of_version_2
from .run_config import CONFIGURATION

log = logging.getLogger(__name__)

FRONT, FINETUNED, VERIFIED = "front.json", "finetuned", "verify.json"
_RESTORE = "restore it, or search again with --fresh"
_VERSION = "schema_version"
T = TypeVar("T")


def read_run(path: Path) -> Run:
    """The run in the directory `path`, with its fine-tuned points and what the last `verify` measured.

    RunDirectoryError when `path` is no run directory, has no result yet, is damaged, or was made by another
    version that this one does not read; InputError when something in it leads out of it (files.py).
    """
    if os.path.lexists(path / FRONT):
        require_closed(path)
    run = read_record(path / FRONT, _run_of) if path.is_dir() else None
    if run is None:
        what = "has no front.json yet" if (path / CONFIGURATION).is_file() else "is no run directory"
        raise RunDirectoryError(
            f"{path} {what}: give the directory that `autocompress search` wrote, such as runs/NAME."
        )
    try:
        run = replace(run, points=(*run.points, *_finetuned(path, run)))
    except ValueError as error:
        raise _damaged(
            path / FINETUNED, str(error).rstrip("."), "remove what does not belong there"
        ) from error
    remedy = "remove it, and run `autocompress verify` again"
    return replace(run, verification=read_record(path / VERIFIED, read_verification, remedy=remedy))


def read_front(path: Path) -> Run | None:
    """The run of front.json alone, None when there is none yet."""
    return read_record(path / FRONT, _run_of)


def write_run(path: Path, run: Run) -> None:
    """Writes front.json of the run directory `path` atomically."""
    _write(path / FRONT, run.to_json())


def _finetuned(path: Path, run: Run) -> tuple[Point, ...]:
    """The points that `pick --finetune` made of the run, in the order of their making."""

    def read(fields: Fields) -> Point:
        if fields.choice(_VERSION, (1, SCHEMA_VERSION)) == 1:
            return point_of_version_2(fields, run.facts.target_names)
        return fields.sealed(Point.from_json)

    files = [file for file in (path / FINETUNED).glob("*.json") if file.stem.isdecimal()]
    points = (read_record(file, read) for file in sorted(files, key=lambda file: int(file.stem)))
    return tuple(point for point in points if point is not None)


def write_finetuned(path: Path, point: Point) -> None:
    """Keeps a fine-tuned point, trial -N, as finetuned/N.json of the run directory `path`."""
    (path / FINETUNED).mkdir(exist_ok=True)
    _write(path / FINETUNED / f"{-point.trial}.json", {_VERSION: SCHEMA_VERSION, **point.to_json()})


def write_verification(path: Path, verification: Verification) -> None:
    """Keeps what `verify` measured as verify.json of the run directory `path`."""
    _write(path / VERIFIED, verification.to_json())


def read_json(path: Path, expected: type[T] = dict) -> T | None:  # type: ignore[assignment]
    """The content of a JSON file, an object or what is `expected`; None when it is missing.

    RunDirectoryError when it is damaged or something else.
    """
    value = _parsed(path, _RESTORE)
    if value is not None and not isinstance(value, expected):
        raise _damaged(path, f"must be {'an object' if expected is dict else expected.__name__}", _RESTORE)
    return value


def read_record(path: Path, read: Callable[[Fields], T], *, remedy: str = _RESTORE) -> T | None:
    """What `read` makes of the object in a JSON file; None when it is missing. RunDirectoryError when it does
    not fit.
    """
    value = _parsed(path, remedy)
    if value is None:
        return None
    try:
        return read(Fields(value))
    except Unfit as error:
        raise _damaged(path, str(error), remedy) from error


def read_kept(path: Path, read: Callable[[Fields], T]) -> T | None:
    """What `read` makes of a file that `write_kept` wrote; None when it is missing or damaged: what it had is
    made again.
    """
    try:
        return read_record(
            path,
            lambda fields: fields.sealed(read) if fields.has(DIGEST) else read(fields),
            remedy="what it had is made again",
        )
    except RunDirectoryError as error:
        log.warning("%s", error)
        if path.is_dir():
            path.rename(path.with_name(f"{path.name}.damaged"))
        return None


def write_kept(path: Path, value: dict[str, Any]) -> None:
    """Writes what `read_kept` reads, atomically."""
    _write(path, value)


def _parsed(path: Path, remedy: str) -> Any | None:
    try:
        value = parse(read_text(path))
    except FileNotFoundError:
        return None
    except Unfit as error:
        raise _damaged(path, str(error), remedy) from error
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read ({error})", remedy) from error
    if value is None:
        raise _damaged(path, "is null", remedy)
    return value


def _damaged(path: Path, reason: str, remedy: str) -> RunDirectoryError:
    return RunDirectoryError(f"{path}: {reason}: {remedy}.")


def _run_of(fields: Fields) -> Run:
    if fields.choice(_VERSION, (2, SCHEMA_VERSION)) == 2:
        return run_of_version_2(fields)
    return fields.sealed(Run.from_json)


def _write(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json_text(seal(value)))
