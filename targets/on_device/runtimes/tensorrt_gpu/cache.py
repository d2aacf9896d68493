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
from typing import Any

from ...runtime import RefusedError

LIMIT_BYTES = 2 * 1024**3
_TIMINGS_LIMIT = 64 * 1024**2  # a timing cache that has grown beyond is begun anew


def cache_folder() -> Path:
    """The folder, made if it is missing. RefusedError when it cannot be written."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autocompress" / "tensorrt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def engine_key(model_digest: str, facts: dict[str, Any]) -> str:
    """The name of a model's engine: the model's SHA-256, and that of what else decides the engine."""
    return f"{model_digest}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()}"


def declared_inputs(model_digest: str) -> list[Any] | None:
    """Names and shapes (-1: dynamic) of a model's inputs, out of any engine of it that is kept; None if there
    is none.
    """
    for path in cache_folder().glob(f"{model_digest}-*.engine"):
        with contextlib.suppress(OSError, ValueError, KeyError), path.open("rb") as file:
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


def load_engine(key: str) -> tuple[bytes, dict[str, Any]] | None:
    """A kept engine and what is known of it (build_s, flags, inputs, outputs), marked as used; None if none
    is kept whole.
    """
    path = cache_folder() / f"{key}.engine"
    with contextlib.suppress(OSError, ValueError):
        head, _, plan = path.read_bytes().partition(b"\n")
        facts: dict[str, Any] = json.loads(head)
        if facts["engine_bytes"] == len(plan):
            os.utime(path)
            return plan, facts
    return None


def keep_engine(key: str, plan: bytes, facts: dict[str, Any]) -> None:
    """Keeps an engine with what is known of it, and forgets those that were not used for the longest time."""
    folder = cache_folder()
    head = json.dumps({**facts, "engine_bytes": len(plan)}).encode()
    _write(folder / f"{key}.engine", head + b"\n" + plan)
    _shrink(folder)


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
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another worker removed it
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    used = 0
    for _, size, path in sorted((item for item in found if item[2].suffix == ".engine"), reverse=True):
        used += size
        if used > LIMIT_BYTES:
            with contextlib.suppress(OSError):
                path.unlink()
    newest = max((item[0] for item in found), default=0.0)
    for modified, _, path in found:
        if path.suffix == ".part" and newest - modified > 3600:
            with contextlib.suppress(OSError):
                path.unlink()


def _unwritable(folder: Path, error: OSError) -> RefusedError:
    reason = error.strerror or str(error)
    return RefusedError(
        f"Engines cannot be kept in {folder} ({reason}): free space there, or set XDG_CACHE_HOME.",
        kind="error",
    )
