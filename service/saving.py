"""Backups: the database, serve.toml and the small files of all runs in one archive, while the service runs.

The database is copied by SQLite's online backup, or by `pg_dump` of PostgreSQL. Candidates' files are left
out: a search that goes on makes those again that it needs.
"""

import hashlib
import io
import json
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ..errors import InputError
from ..files import replacing
from ..results.run_lock import locked, require_writable
from .work.syncing import NAMES

_SMALL = 1 << 20
_SUMS, _ABOUT, _SQLITE, _DUMP = "SHA256SUMS", "backup.json", "service.db", "service.dump"


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """An archive, or what came of one: how many files, and their bytes."""

    path: Path
    files: int
    size_bytes: int


def backup(data: Path, database: str | None, out: Path) -> Saved:
    """Writes the archive `out` of the service with its data in a folder. InputError when there is none, or
    PostgreSQL's tools are missing or fail.
    """
    if database is None and not (data / _SQLITE).is_file():
        raise InputError(f"There is no service in {data}: give its --data, or its --database.")
    sums: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="autocompress-backup-") as folder, replacing(out) as temporary:
        copied = _copied(data, database, Path(folder))
        temporary.touch()
        temporary.chmod(0o600)  # it has the digests of tokens
        with tarfile.open(temporary, "w:gz", compresslevel=3) as archive:
            about = {"version": version("autocompress"), "at": time.time(), "database": copied.name}
            _add(archive, _ABOUT, json.dumps(about).encode(), sums)
            _add(archive, copied.name, copied.read_bytes(), sums)
            for path in _files(data):
                try:
                    content = path.read_bytes()
                except FileNotFoundError:  # a search replaced or removed it meanwhile
                    continue
                _add(archive, path.relative_to(data).as_posix(), content, sums)
            listing = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
            _add(archive, _SUMS, listing.encode(), {})
    return Saved(path=out, files=len(sums), size_bytes=out.stat().st_size)


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
            size = 0
            for name in sums:
                if name not in (_ABOUT, _DUMP):
                    (data / name).parent.mkdir(parents=True, exist_ok=True)
                    size += (Path(folder) / name).stat().st_size
                    (Path(folder) / name).replace(data / name)
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


def _files(data: Path) -> Iterator[Path]:
    """serve.toml, and of each run the files of its record and all that are small."""
    if (data / "serve.toml").is_file():
        yield data / "serve.toml"
    for path in sorted((data / "runs").rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(data).parts)
        if path.is_symlink() or not path.is_file() or hidden:
            continue
        if path.name in NAMES or path.stat().st_size <= _SMALL:
            yield path


def _add(archive: tarfile.TarFile, name: str, content: bytes, sums: dict[str, str]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), int(time.time()), 0o600
    archive.addfile(member, io.BytesIO(content))
    sums[name] = hashlib.sha256(content).hexdigest()


def _unpacked(archive: Path, folder: Path) -> dict[str, str]:
    """The archive's files with their digests, all of them checked."""
    try:
        with tarfile.open(archive, "r:gz") as packed:
            packed.extractall(folder, filter="data")
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        for name, digest in sums.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                raise InputError(f"{archive} is damaged: {name} is not what was saved.")
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise InputError(f"{archive} is no backup of a service, or a damaged one ({error}).") from error
    return sums
