"""Bounded disk: old nights and bundles go, equal files are one file, what can be made again is not kept."""

import filecmp
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..results.run_lock import holder
from .places import Places
from .steps.deploying import remove_versions

_CACHES = ("cache", "inputs")  # of a run directory: templates and splits, which a search makes again


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was removed or joined: nights, bundles, canaries by their paths; files that became links; bytes
    that were freed.
    """

    nights: tuple[str, ...] = ()
    bundles: tuple[str, ...] = ()
    joined: int = 0
    freed_bytes: int = 0


def collect(places: Places, *, keep: int, dry_run: bool = False) -> Collected:
    """Keeps the last `keep` finished nights and bundles of each model, and joins equal artifacts of the rest.

    A night that others refer to, as the last one in which a model's search was done, stays. `dry_run`: says
    what would be removed, without the files that would be joined.
    """
    before = _used_bytes(places.folder)
    gone = _old_nights(places, keep)
    if dry_run:
        freed = sum(_used_bytes(places.night(name)) for name in gone)
        return Collected(nights=gone, freed_bytes=freed)
    for name in gone:
        shutil.rmtree(places.night(name), ignore_errors=True)
    bundles = [path.name for model in _models(places) for path in remove_versions(places, model, keep=keep)]
    _remove_caches(places)
    joined = _join(places)
    freed = before - _used_bytes(places.folder)
    return Collected(nights=gone, bundles=tuple(bundles), joined=joined, freed_bytes=max(0, freed))


def _old_nights(places: Places, keep: int) -> tuple[str, ...]:
    """The nights beyond the last `keep`, without those that a later one would be compared with."""
    nights = places.read_nights()
    needed = set()
    for model in {model.name for night in nights for model in night.models}:
        done = [night for night in nights if (one := night.model(model)) and one.has_done("compare")]
        needed |= {night.name for night in done[-1:]}
    return tuple(night.name for night in nights[:-keep] if night.name not in needed)


def _models(places: Places) -> list[str]:
    return sorted(path.stem for path in places.deployed.glob("*.json"))


def _runs(places: Places) -> Iterator[Path]:
    """The run directories of all nights."""
    for path in places.nights.glob("*/*/run*"):
        if (path / "run.toml").is_file():
            yield path


def _remove_caches(places: Places) -> None:
    """Removes what runs can make again, of runs that nobody works on."""
    nights = {night.name: night.status for night in places.read_nights()}
    for run in _runs(places):
        if nights.get(run.parent.parent.name) == "finished" and not holder(run):
            for name in _CACHES:
                shutil.rmtree(run / name, ignore_errors=True)


def _join(places: Places) -> int:
    """Makes equal artifacts of all nights one file with several names (hard links), and returns how many.

    Artifacts are named by their digest, and are replaced by a rename and never changed in place, so that a
    change of one name leaves the others as they are.
    """
    first: dict[str, Path] = {}
    joined = 0
    for run in sorted(_runs(places)):
        for path in sorted((run / "artifacts").glob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            other = first.setdefault(path.name, path)
            if other is path or other.samefile(path) or not filecmp.cmp(other, path, shallow=False):
                continue
            temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                temporary.unlink(missing_ok=True)
                os.link(other, temporary)
                temporary.replace(path)
                joined += 1
            except OSError:  # a file system without hard links: both stay
                temporary.unlink(missing_ok=True)
                return joined
    return joined


def _used_bytes(folder: Path) -> int:
    """The bytes of all files below a folder, those with several names once."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                facts = Path(parent, name).lstat()
            except FileNotFoundError:
                continue
            sizes[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(sizes.values())
