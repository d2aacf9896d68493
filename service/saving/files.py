"""What of a service's folder belongs in a backup, besides its database."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...nightly.config_file import read_config
from ...nightly.places import Places
from ..upload_kinds import KINDS
from ..work.syncing import NAMES

_SMALL = 1 << 20
RUNS, UPLOADS, NIGHTS = "runs", "uploads", "nights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongs:
    """What belongs in a backup of the folder `data`. `nightly` are the files of nightly runs by name; with
    `uploads` what people uploaded, too. All paths are resolved.
    """

    data: Path
    nightly: Mapping[str, Path]
    uploads: bool

    def files(self) -> Iterator[tuple[str, Path]]:
        """The files with what they are of. serve.toml, uploads as they are, and of each run and night the
        records and all that is small; the bundles that nights deployed are whole.
        """
        if (self.data / "serve.toml").is_file():
            yield RUNS, self.data / "serve.toml"
        for path in _below(self.data / "runs"):
            if _is_record(path):
                yield RUNS, path
        if self.uploads:
            for kind in KINDS:
                for path in sorted((self.data / "weights").glob(f"*/*.{kind}")):
                    yield UPLOADS, path
        for file, places in self._nights():
            yield NIGHTS, file
            yield from ((NIGHTS, path) for path in _below(places.nights) if _is_record(path))
            yield from ((NIGHTS, path) for path in _below(places.deployed, hidden=".versions"))

    def links(self) -> dict[str, str]:
        """Where the links lead that say which bundle is deployed, by their names in the folder."""
        links = [
            path for _, places in self._nights() for path in places.deployed.glob("*") if path.is_symlink()
        ]
        return {path.relative_to(self.data).as_posix(): path.readlink().as_posix() for path in sorted(links)}

    def elsewhere(self) -> list[Path]:
        """The files of nightly runs that are not below the folder, and so in no backup of it."""
        inside = [file for file, _ in self._nights()]
        return [file for file in self.nightly.values() if file not in inside]

    def _nights(self) -> Iterator[tuple[Path, Places]]:
        """The files of nightly runs below the folder, and where what they keep is."""
        for file in self.nightly.values():
            try:
                folder = read_config(file).folder
            except InputError:  # somebody writes at it
                folder = file.parent / "nightly"
            folder = folder.resolve()
            if file.is_file() and file.is_relative_to(self.data) and folder.is_relative_to(self.data):
                yield file, Places(folder=folder)


def _below(folder: Path, *, hidden: str = "") -> Iterator[Path]:
    """The files below a folder, without links and what is hidden; `hidden` is a folder that is not."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") and part != hidden for part in parts):
            continue
        if not path.is_symlink() and path.is_file():
            yield path


def _is_record(path: Path) -> bool:
    try:
        return path.name in NAMES or path.stat().st_size <= _SMALL
    except FileNotFoundError:  # it was removed meanwhile
        return False
