"""The archive: the database, serve.toml, records of runs and nights, uploads; written while the service runs.

The database is copied by SQLite's online backup, or by `pg_dump` of PostgreSQL. Candidates' files are left
out: a search that goes on makes those again that it needs.
"""

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO

from ...errors import InputError
from ...files import digest_of_file, is_inside, read_text, replacing
from ...results.run_lock import locked, require_writable
from .files import Belongs

_SUMS, _ABOUT, _LINKS = "SHA256SUMS", "backup.json", "links.json"
_SQLITE, _DUMP = "service.db", "service.dump"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """An archive, or what came of one: how many files, and their bytes; `parts` are those of uploads and
    nights before they were packed.
    """

    path: Path
    files: int
    size_bytes: int
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def backup(belongs: Belongs, database: str | None, out: Path) -> Saved:
    """Writes the archive `out` of a service. InputError when there is none, or PostgreSQL's tools are missing
    or fail.
    """
    data = belongs.data
    if database is None and not (data / _SQLITE).is_file():
        raise InputError(f"There is no service in {data}: give its --data, or its --database.")
    sums: dict[str, str] = {}
    parts: dict[str, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory(prefix="autocompress-backup-") as folder, replacing(out) as temporary:
        copied = _copied(data, database, Path(folder))
        temporary.touch()
        temporary.chmod(0o600)  # it has the digests of tokens
        with tarfile.open(temporary, "w:gz", compresslevel=3) as archive:
            about = {"version": version("autocompress"), "at": time.time(), "database": copied.name}
            _add_text(archive, _ABOUT, json.dumps(about), sums)
            _add(archive, copied.name, copied, sums)
            for part, path in belongs.files():
                try:
                    size = _add(archive, path.relative_to(data).as_posix(), path, sums)
                except FileNotFoundError:  # a search replaced or removed it meanwhile
                    continue
                files, total = parts.get(part, (0, 0))
                parts[part] = files + 1, total + size
            _add_text(archive, _LINKS, json.dumps(belongs.links()), sums)
            _add_text(archive, _SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()), {})
    return Saved(path=out, files=len(sums), size_bytes=out.stat().st_size, parts=parts)


def restore(archive: Path, data: Path, database: str | None) -> Saved:
    """Puts back what `backup` saved, into a folder without a service and, for PostgreSQL, an empty database.
    InputError for an archive that is damaged or none, and where something is in the way.
    """
    require_writable(data, elsewhere="give --data a folder that can be written")
    with locked(data, by="restore", remedy="stop the service first", name="serve.lock"):
        if (data / _SQLITE).exists() or any((data / "runs").glob("*")):
            raise InputError(f"There is a service in {data} already: give --data an empty folder.")
        with tempfile.TemporaryDirectory(dir=data, prefix=".restore-") as folder:
            sums = _unpacked(archive, Path(folder))
            dump = Path(folder) / _DUMP
            if dump.is_file() != (database is not None):
                needed = "a --database" if dump.is_file() else "no --database: it has SQLite's file"
                raise InputError(f"{archive} needs {needed}.")
            if database is not None:
                _run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={database}", str(dump))
            links, size = _links(Path(folder) / _LINKS, archive), 0
            for name in sums:
                if name not in (_ABOUT, _DUMP, _LINKS):
                    (data / name).parent.mkdir(parents=True, exist_ok=True)
                    size += (Path(folder) / name).stat().st_size
                    (Path(folder) / name).replace(data / name)
            for name, target in links.items():
                (data / name).parent.mkdir(parents=True, exist_ok=True)
                (data / name).symlink_to(target)
    data.chmod(0o700)
    return Saved(path=data, files=len(sums), size_bytes=size)


def _copied(data: Path, database: str | None, folder: Path) -> Path:
    """A copy of the database as it is at one moment."""
    if database is not None:
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={folder / _DUMP}", f"--dbname={database}")
        return folder / _DUMP
    with (
        closing(sqlite3.connect(f"file:{data / _SQLITE}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(folder / _SQLITE)) as target,
    ):
        source.backup(target)
    return folder / _SQLITE


def _run(program: str, *words: str) -> None:
    if shutil.which(program) is None:
        raise InputError(f"{program} is missing: install it (apt-get install postgresql-client).")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise InputError(f"{program} failed: {reason}")


class _Read:
    """A file that is read once, with the SHA-256 of what was read."""

    def __init__(self, file: IO[bytes]):
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _add(archive: tarfile.TarFile, name: str, path: Path, sums: dict[str, str]) -> int:
    """Adds a file as large as it is now, even if it grows; its size."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        sums[name] = _add_bytes(archive, name, file, size)
    return size


def _add_text(archive: tarfile.TarFile, name: str, text: str, sums: dict[str, str]) -> None:
    content = text.encode()
    sums[name] = _add_bytes(archive, name, io.BytesIO(content), len(content))


def _add_bytes(archive: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> str:
    member, read = tarfile.TarInfo(name), _Read(file)
    member.size, member.mtime, member.mode = size, int(time.time()), 0o600
    archive.addfile(member, read)
    return read.digest.hexdigest()


def _links(file: Path, archive: Path) -> dict[str, str]:
    """The links of an archive; those before there were any have none. InputError for one that leads away."""
    links: dict[str, str] = json.loads(read_text(file)) if file.is_file() else {}
    for name, target in links.items():
        if not is_inside(name) or not is_inside(target):
            raise InputError(f"{archive} has the link {name!r}, which leads out of the folder.")
    return links


def _unpacked(archive: Path, folder: Path) -> dict[str, str]:
    """The archive's files with their digests, all of them checked."""
    try:
        with tarfile.open(archive, "r:gz") as packed:
            packed.extractall(folder, filter="data")
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        for name, digest in sums.items():
            if digest_of_file(folder / name) != digest:
                raise InputError(f"{archive} is damaged: {name} is not what was saved.")
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise InputError(f"{archive} is no backup of a service, or a damaged one ({error}).") from error
    return sums
