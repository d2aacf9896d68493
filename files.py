"""Files and identities: atomic writes, digests of canonical bytes, reading what may be damaged or lead
elsewhere, the user's cache folder. Standard library.
"""

import hashlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import InputError
from .scratch import locked_part

DIGEST = "digest"  # the key of a JSON file's own digest
LARGEST_TEXT_BYTES = 1 << 28  # of a file of text that is ours
LARGEST_BYTES = 4 << 30  # of a file of a run or bundle: an ONNX file has 2 GB at most
_KEY_BYTES = 32


def canonical_json(value: Any) -> bytes:
    """Canonical UTF-8 bytes of a JSON value: sorted keys, no spaces, no NaN (ValueError)."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    ).encode()


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical bytes of a JSON value."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path) -> str:
    """The UTF-8 text of a file that may be damaged. OSError when there is none; ValueError when it is no
    file, too large to be ours, or not UTF-8.
    """
    facts = path.stat()  # a pipe would never end
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError("it is no file")
    if facts.st_size > LARGEST_TEXT_BYTES:
        raise ValueError(f"it has {facts.st_size} bytes, at most {LARGEST_TEXT_BYTES} are expected")
    return path.read_text(encoding="utf-8")


def seal(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the SHA-256 of its canonical JSON, which `unsealed` checks."""
    return {**value, DIGEST: digest_of(value)}


def unsealed(text: str) -> dict[str, Any]:
    """The object in the JSON text of what `seal` made. ValueError when it is damaged."""
    value = json_object(text)
    if DIGEST not in value:
        raise ValueError("it has no digest")
    stated = value.pop(DIGEST)
    try:
        actual = digest_of(value)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if stated != actual:
        raise ValueError("its digest does not match its content")
    return value


def json_object(text: str) -> dict[str, Any]:
    """The object in a JSON text. ValueError when there is none, whatever else there is."""
    try:
        value = json.loads(text)
    except (RecursionError, TypeError) as error:
        raise ValueError("it is no JSON, or nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return value


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, renamed to it on success and removed on error: never a
    half-written file. A link in the place of either is replaced, and what it leads to stays as it is.

    OSError, which names `path`, when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with locked_part(temporary):
            yield temporary
            temporary.replace(path)
    except OSError as error:
        ours = error.filename is None or os.fspath(error.filename) == str(temporary)
        if error.errno is None or not ours:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def is_inside(name: str) -> bool:
    """Whether a path that a file names is relative and stays below its folder, links aside."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and name.isprintable()


def file_below(folder: Path, name: str) -> Path:
    """The path of the file that `name` says is in `folder`; it may be missing. InputError when it leads out
    of the folder, be it by a link, is no regular file or larger than LARGEST_BYTES.
    """
    path = folder / name
    if not is_inside(name) or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{name!r} leads out of {folder}: only what is below that folder is read.")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file: put the file there, or remove it.")
    if path.exists() and path.stat().st_size > LARGEST_BYTES:
        raise InputError(f"{path} is larger than {LARGEST_BYTES >> 30} GB, which none of our files is.")
    return path


def require_closed(folder: Path) -> None:
    """InputError when the folder holds anything but files and folders of its own: a link that leads out of it
    or nowhere, a pipe, a device. What is read and written in it afterwards stays in it.
    """
    root = folder.resolve()
    for parent, folders, files in os.walk(root):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if problem := _problem(path, root):
                raise InputError(
                    f"{folder / path.relative_to(root)} {problem}: remove it, or put a copy of what it "
                    "stands for in its place."
                )


def _problem(path: Path, root: Path) -> str:
    """Why an entry does not belong in a folder, empty if it does, or is gone by now."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(mode):
        try:
            stays = path.resolve(strict=True).is_relative_to(root)
            mode = path.stat().st_mode
        except (OSError, RuntimeError):  # it leads nowhere, or to itself
            stays = False
        if not stays:
            return f"is a link that does not stay in {root.name}"
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "is neither a file nor a folder"


def cache_folder() -> Path:
    """The user's cache folder for autocompress, by the platform's convention; the one place that reads it.

    A user without a home has one that cannot be written.
    """
    try:
        home = Path.home()
    except RuntimeError:
        home = Path(os.devnull)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "autocompress"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "autocompress"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "autocompress"


def user_key() -> str:
    """A random text that only this user's files have, kept in the cache folder; where it cannot be kept, a
    new one each time.
    """
    path = cache_folder() / "key"
    with suppress(OSError, ValueError):
        key = read_text(path)
        if len(key) == 2 * _KEY_BYTES:
            return key
    key = secrets.token_hex(_KEY_BYTES)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.touch()
            temporary.chmod(0o600)
            temporary.write_text(key, encoding="utf-8")
    return key
