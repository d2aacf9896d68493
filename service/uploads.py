"""Models and weights that people upload: safetensors and ONNX, each called by its SHA-256, in a folder of its
user.

An argument of a task names one as `upload:SHA256` where its function wants a path. Nothing of it is run: a
file is taken when it arrived as a whole, and what it is was told by its content (`upload_kinds.py`).
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import InputError
from ..profiles.units import format_size
from .queue.job import TooManyError
from .upload_kinds import KINDS, require_whole

PREFIX = "upload:"
DIGEST = "[0-9a-f]{64}"
_CHECKED_EACH = 32 << 20
_NAMED = re.compile(rf"{PREFIX}({DIGEST})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file of a user; `kind` is one of KINDS."""

    digest: str
    kind: str
    size_bytes: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """The uploads of all users below `folder`. `largest_bytes` is the limit of a file, `most_bytes` that of
    all files of a user.
    """

    folder: Path
    largest_bytes: int
    most_bytes: int

    def of(self, user_id: int) -> list[Upload]:
        """What a user has, the newest first."""
        uploads = []
        for kind in KINDS:
            for path in self._of(user_id).glob(f"*.{kind}"):
                with suppress(FileNotFoundError):  # it is removed at this moment
                    facts = path.stat()
                    uploads.append(
                        Upload(digest=path.stem, kind=kind, size_bytes=facts.st_size, at=facts.st_mtime)
                    )
        return sorted(uploads, key=lambda one: (-one.at, one.digest))

    def path(self, user_id: int, digest: str) -> Path | None:
        """The file of a user with this SHA-256; None where there is none."""
        if not re.fullmatch(DIGEST, digest):
            return None
        paths = (self._of(user_id) / f"{digest}.{kind}" for kind in KINDS)
        return next((path for path in paths if path.is_file()), None)

    def kind(self, user_id: int, digest: str) -> str | None:
        """The kind of the file of a user with this SHA-256; None where there is none."""
        path = self.path(user_id, digest)
        return None if path is None else path.suffix[1:]

    def require_size(self, size_bytes: int) -> None:
        """InputError for a file that is too large."""
        if size_bytes > self.largest_bytes:
            raise InputError(f"An upload has at most {format_size(self.largest_bytes)}: this one is larger.")

    def require_room(self, user_id: int, size_bytes: int) -> None:
        """TooManyError where a user has no room for so many bytes, beside what arrives at the same time."""
        taken = self._taken(user_id)
        if taken + size_bytes > self.most_bytes:
            raise TooManyError(
                f"Your uploads take {format_size(taken)}, and {format_size(self.most_bytes)} is the limit: "
                "remove one (on the page Uploads, or `DELETE /v1/weights/SHA256`)."
            )

    @contextmanager
    def receiving(self, user_id: int) -> Iterator["Arriving"]:
        """A file that arrives, which is removed unless `Arriving.keep` took it."""
        folder = self._of(user_id)
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                yield Arriving(self, user_id, Path(name), file)
        finally:
            Path(name).unlink(missing_ok=True)

    def remove(self, user_id: int, digest: str) -> bool:
        """Removes an upload; whether there was one."""
        path = self.path(user_id, digest)
        if path is not None:
            path.unlink(missing_ok=True)
        return path is not None

    def sweep(self) -> None:
        """Removes what a kill left half arrived."""
        for path in self.folder.glob("*/.*.part"):
            path.unlink(missing_ok=True)

    def _of(self, user_id: int) -> Path:
        return self.folder / str(user_id)

    def _taken(self, user_id: int) -> int:
        sizes = 0
        for path in self._of(user_id).glob("*"):
            with suppress(FileNotFoundError):
                sizes += path.stat().st_size
        return sizes


class Arriving:
    """A file of a user that comes part by part."""

    def __init__(self, uploads: Uploads, user_id: int, path: Path, file: IO[bytes]):
        self._uploads, self._user_id, self._path, self._file = uploads, user_id, path, file
        self._digest, self._size, self._checked = hashlib.sha256(), 0, 0

    @property
    def digest(self) -> str:
        """The SHA-256 of what arrived so far."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Adds a part. InputError for a file that is too large; TooManyError when the user has no room, with
        all that arrives at the same time.
        """
        self._size += len(data)
        self._uploads.require_size(self._size)
        if self._size - self._checked > _CHECKED_EACH:
            self._uploads.require_room(self._user_id, 0)
            self._checked = self._size
        self._digest.update(data)
        self._file.write(data)

    def keep(self) -> None:
        """Makes what arrived an upload. InputError where it is of no kind that is taken, or not whole."""
        self._file.flush()
        if self._uploads.path(self._user_id, self.digest) is None:
            self._uploads.require_room(self._user_id, 0)
            self._path.replace(self._path.with_name(f"{self.digest}.{require_whole(self._path)}"))


def uploads_in(text: str) -> list[str]:
    """The SHA-256 of each upload that an argument names."""
    return [match[1] for part in text.split(",") if (match := _NAMED.fullmatch(part.strip()))]


def with_paths(text: str, paths: dict[str, str]) -> str:
    """The argument with a path for each upload that it names."""
    return _NAMED.sub(lambda match: paths.get(match[1], match[0]), text)
