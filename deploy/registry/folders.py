"""A folder as a registry, wherever fsspec reaches: a local disk, S3, a bucket of Google or Azure, memory.

    NAME/versions/DIGEST/…   the files of a bundle, below the digest of its content
    NAME/index.json          which versions there are; written last, so that it names whole versions only

On a local disk a version is written beside its place and renamed, a lock keeps others away meanwhile, and
index.json is replaced at once. An object store replaces single objects at once and has no locks: two pushes
to one name at the same moment may lose one of them in the index, which pushing again mends.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...errors import InputError, TargetUnavailable
from ...files import replacing
from ...results.records.reading import Unfit, parse
from ...scratch import folder_in
from ...text.printable import json_text
from .address import RegistryAddress
from .content import BundleContent
from .index import LARGEST_BYTES, Index, Version, index_of

INDEX, VERSIONS = "index.json", "versions"
_CHUNK = 1 << 20
_OF_OURS = (TypeError, AttributeError, NameError, LookupError)  # a bug is no storage that fails


def push_to_folder(
    content: BundleContent, address: RegistryAddress, alias: str | None
) -> tuple[Version, bool]:
    """The version of the bundle, and whether it is new. InputError and TargetUnavailable say what is in the
    way.
    """
    files, root = _file_system(address)
    with _answering(address), _locked(files, root):
        index = _read_index(files, root, address)
        version = index.of_digest(content.digest)
        place = f"{root}/{VERSIONS}/{content.digest}"
        if version is None or not _holds(files, place, content):
            _write_version(files, place, content)
            if not _holds(files, place, content):
                raise TargetUnavailable(f"{address} does not give back what was written to it: try again.")
        new = version is None
        version = version or _new_version(index, content)
        changed = index.adding(version, alias)
        if changed != index:
            _write(files, f"{root}/{INDEX}", json_text(asdict(changed), indent=2).encode())
    return version, new


def _new_version(index: Index, content: BundleContent) -> Version:
    return Version(
        number=index.next_number,
        digest=content.digest,
        bundle=content.manifest.name,
        pushed=datetime.now(UTC).isoformat(timespec="seconds"),
        size_bytes=content.size_bytes,
    )


def _file_system(address: RegistryAddress) -> tuple[Any, str]:
    """The file system of the address, and the path of its folder there."""
    from fsspec.core import url_to_fs

    try:
        files, root = url_to_fs(address.url)
    except ImportError as error:  # its text names the package
        raise InputError(f"{address} needs another package ({error}).") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{address} cannot be used as a registry: {error}.") from error
    return files, root.rstrip("/")


@contextmanager
def _answering(address: RegistryAddress) -> Iterator[None]:
    """Turns what a storage raises into one sentence: each has errors of its own."""
    try:
        yield
    except (InputError, TargetUnavailable):
        raise
    except NotImplementedError as error:
        raise InputError(f"{address} cannot be written to: choose another kind of storage.") from error
    except PermissionError as error:
        raise InputError(f"{address} may not be written ({error}): check your rights there.") from error
    except _OF_OURS:
        raise
    except Exception as error:
        raise TargetUnavailable(f"{address} cannot be used now: {type(error).__name__}: {error}") from error


@contextmanager
def _locked(files: Any, root: str) -> Iterator[None]:
    """A block that one process at a time runs, where the folder is on a local disk."""
    if not _is_local(files):
        yield
        return
    Path(root).mkdir(parents=True, exist_ok=True)
    lock = os.open(Path(root) / ".lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_local(files: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(files, LocalFileSystem)


def _read_index(files: Any, root: str, address: RegistryAddress) -> Index:
    """The index, empty where there is none. InputError when it is damaged."""
    place = f"{root}/{INDEX}"
    files.invalidate_cache()
    if not files.exists(place):
        return Index()
    if files.size(place) > LARGEST_BYTES:
        raise InputError(f"{address}/{INDEX} is too large to be one of ours: restore it.")
    try:
        return index_of(parse(files.cat_file(place).decode()))
    except (Unfit, UnicodeDecodeError) as error:
        raise InputError(f"{address}/{INDEX}: {error}: restore it.") from error


def _holds(files: Any, place: str, content: BundleContent) -> bool:
    """Whether the files of the bundle are at the place: each is read back."""
    for name, digest in content.digests.items():
        hashed = hashlib.sha256()
        try:
            with files.open(f"{place}/{name}", "rb") as file:
                while chunk := file.read(_CHUNK):
                    hashed.update(chunk)
        except FileNotFoundError:
            return False
        if hashed.hexdigest() != digest:
            return False
    return True


def _write_version(files: Any, place: str, content: BundleContent) -> None:
    """Writes the files of the bundle to the place; on a local disk all at once."""
    if not _is_local(files):
        for name in content.digests:
            _write(files, f"{place}/{name}", (content.folder / name).read_bytes())
        return
    target = Path(place)
    target.parent.mkdir(parents=True, exist_ok=True)
    with folder_in(target.parent) as folder:
        shutil.copytree(content.folder, folder / "bundle")
        (folder / "bundle").chmod(0o755)
        if target.exists():  # damaged: `_holds` has looked
            target.rename(folder / "damaged")
        (folder / "bundle").rename(target)


def _write(files: Any, place: str, data: bytes) -> None:
    if _is_local(files):
        with replacing(Path(place)) as temporary:
            temporary.write_bytes(data)
        return
    files.makedirs(place.rpartition("/")[0], exist_ok=True)
    files.pipe_file(place, data)
