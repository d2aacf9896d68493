"""What building leaves behind on the device: engines, timings of tactics, compiled kernels, in
~/.cache/autocompress/tensorrt.

Files are written to a temporary name and renamed, so that workers may share the folder. What was used last
stays, up to `LIMIT_BYTES`; everything can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ...runtime import RefusedError

LIMIT_BYTES = 2 * 1024**3
_TIMINGS_LIMIT = 64 * 1024**2  # a timing cache that has grown beyond is begun anew
_DIGEST = "sha256"  # in the head of a kept engine
# What reading a damaged file may raise.
_DAMAGE = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class EngineFacts(NamedTuple):
    """What is known of an engine: seconds that building it took, the builder's flags, its size.

    `inputs` are name and shape (-1: dynamic) of the model's inputs, `outputs` the names of its outputs.
    """

    build_s: float
    flags: list[str]
    engine_bytes: int
    inputs: list[Any]
    outputs: list[str]


class EngineKey(NamedTuple):
    """What decides an engine beside the model: the device, the library and its version, the shapes, the
    builder's options, and the number of a build that is independent of others.
    """

    device: list[Any]
    library: list[str]
    shapes: list[list[int]]
    options: dict[str, str]
    build: int | None


def cache_folder() -> Path:
    """The folder, made if it is missing. RefusedError when it cannot be written."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autocompress" / "tensorrt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def engine_name(model_digest: str, key: EngineKey) -> str:
    """The name of a model's engine: the model's SHA-256, and that of what else decides the engine."""
    decided = json.dumps(key._asdict(), sort_keys=True).encode()
    return f"{model_digest}-{hashlib.sha256(decided).hexdigest()}"


def declared_inputs(model_digest: str) -> list[Any] | None:
    """Names and shapes (-1: dynamic) of a model's inputs, out of any engine of it that is kept; None if there
    is none.
    """
    for path in cache_folder().glob(f"{model_digest}-*.engine"):
        with contextlib.suppress(*_DAMAGE), path.open("rb") as file:
            inputs: list[Any] = json.loads(file.readline())["inputs"]
            return inputs
    return None


def file_digest(path: str) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def load_engine(name: str) -> tuple[bytes, EngineFacts] | None:
    """A kept engine and what is known of it, marked as used; None if none is kept whole."""
    path = cache_folder() / f"{name}.engine"
    with contextlib.suppress(*_DAMAGE):  # or another version's
        head, _, plan = path.read_bytes().partition(b"\n")
        values = json.loads(head)
        stated = values.pop(_DIGEST, None)  # None: kept before there was one
        facts = EngineFacts(**values)
        if facts.engine_bytes == len(plan) and stated in (None, _digest(facts, plan)):
            os.utime(path)
            return plan, facts
    return None


def keep_engine(name: str, plan: bytes, facts: EngineFacts) -> None:
    """Keeps an engine with what is known of it, and forgets those that were not used for the longest time."""
    folder = cache_folder()
    head = {**facts._asdict(), _DIGEST: _digest(facts, plan)}
    _write(folder / f"{name}.engine", json.dumps(head).encode() + b"\n" + plan)
    _shrink(folder)


def _digest(facts: EngineFacts, plan: bytes) -> str:
    """SHA-256 of an engine and what is known of it."""
    digest = hashlib.sha256(json.dumps(facts._asdict(), sort_keys=True).encode())
    digest.update(plan)
    return digest.hexdigest()


def load_blob(kind: str, device: str, version: str) -> bytes:
    """The timings (`timing`) or compiled kernels (`runtime`) of a device and library version; empty if there
    are none.
    """
    with contextlib.suppress(OSError):
        data = _blob(kind, device, version).read_bytes()
        return data if len(data) <= _TIMINGS_LIMIT else b""
    return b""


def keep_blob(kind: str, device: str, version: str, data: bytes) -> None:
    """Keeps what `load_blob` returns."""
    _write(_blob(kind, device, version), data)


def _blob(kind: str, device: str, version: str) -> Path:
    words = (re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in (kind, device, version))
    return cache_folder() / ("-".join(words) + ".bin")


def _write(path: Path, data: bytes) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.flush()
                temporary.replace(path)
            except BaseException:
                temporary.unlink()
                raise
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _shrink(folder: Path) -> None:
    """Removes the engines that were used least lately until the rest fits, and what a killed worker left half
    written.
    """
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another worker removed it
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    used = 0
    for _, size, path in sorted((file for file in files if file[2].suffix == ".engine"), reverse=True):
        used += size
        if used > LIMIT_BYTES:
            with contextlib.suppress(OSError):
                path.unlink()
    newest = max((modified for modified, _, _ in files), default=0.0)
    for modified, _, path in files:
        if path.suffix == ".part" and newest - modified > 3600:
            with contextlib.suppress(OSError):
                path.unlink()


def _unwritable(folder: Path, error: OSError) -> RefusedError:
    reason = error.strerror or str(error)
    return RefusedError(
        f"Engines cannot be kept in {folder} ({reason}): free space there, or set XDG_CACHE_HOME.",
        kind="error",
    )
