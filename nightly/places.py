"""The nightly folder: where what is, who may work in it, and the records as files."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from ..files import seal, write_text
from ..results.records.reading import Fields
from ..results.run_files import read_record
from ..results.run_lock import locked, require_writable
from ..text.printable import json_text
from .config import is_model_name
from .records.deployed import Deployed
from .records.night import Night

T = TypeVar("T")
_NIGHT = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.(\d+))?")
_RESTORE = "restore it, or remove it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The paths of a nightly folder."""

    folder: Path

    @property
    def nights(self) -> Path:
        """The folder with one folder for each night."""
        return self.folder / "nights"

    @property
    def deployed(self) -> Path:
        """The folder with a link for each model."""
        return self.folder / "deployed"

    @property
    def canaries(self) -> Path:
        """The folder with the virtual environments of other versions of runtimes."""
        return self.folder / "canary"

    def night(self, name: str) -> Path:
        """The folder of a night."""
        return self.nights / name

    def run(self, night: str, model: str) -> Path:
        """The run directory of a model's search in a night; `search` may choose one beside it, `run-2`."""
        return self.nights / night / model / "run"

    def log(self, night: str, model: str) -> Path:
        """The file with what the commands for a model said in a night."""
        return self.nights / night / model / "log.txt"

    def relative(self, path: Path) -> str:
        """A path in the folder as records name it."""
        return path.relative_to(self.folder).as_posix()

    def link(self, model: str) -> Path:
        """What leads to the deployed bundle of a model."""
        return self.deployed / model

    def versions(self, model: str) -> Path:
        """The folder with the bundles of a model that were deployed."""
        return self.deployed / ".versions" / model

    # --- records

    def read_nights(self) -> tuple[Night, ...]:
        """All nights that are on disk, the first one first. RunDirectoryError when one is damaged."""
        names = sorted(_night_names(self.nights), key=_order)
        nights = (_read(self.night(name) / "night.json", Night.from_json) for name in names)
        return tuple(night for night in nights if night is not None)

    def write_night(self, night: Night) -> None:
        """Keeps a night."""
        self.night(night.name).mkdir(parents=True, exist_ok=True)
        write_text(self.night(night.name) / "night.json", json_text(seal(night.to_json()), indent=1))

    def new_name(self, now: datetime) -> str:
        """The name of a night that begins now, which no other has."""
        date = f"{now:%Y-%m-%d}"
        taken = [_order(name)[1] for name in _night_names(self.nights) if name.startswith(date)]
        return date if not taken else f"{date}.{max(taken) + 1}"

    def read_deployed(self, model: str) -> Deployed:
        """What was deployed of a model."""
        if not is_model_name(model):
            raise InputError(f"{model!r} is no name of a model: it has letters, digits, _ and -.")
        return _read(self.deployed / f"{model}.json", Deployed.from_json) or Deployed(model=model)

    def write_deployed(self, deployed: Deployed) -> None:
        """Keeps what was deployed of a model."""
        self.deployed.mkdir(parents=True, exist_ok=True)
        path = self.deployed / f"{deployed.model}.json"
        write_text(path, json_text(seal(deployed.to_json()), indent=1))


@contextmanager
def working_in(places: Places, *, command: str) -> Iterator[None]:
    """A block in which nobody else works in the folder, however this process ends. RunDirectoryError when
    somebody does, or when it cannot be written.
    """
    require_writable(places.folder, elsewhere="choose another folder in nightly.toml")
    with locked(places.folder, by=command, remedy="wait until it ends", name="nightly.lock"):
        yield


def _read(path: Path, read: Callable[[Fields], T]) -> T | None:
    return read_record(path, lambda fields: fields.sealed(read), remedy=_RESTORE)


def _night_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [path.name for path in folder.iterdir() if _NIGHT.fullmatch(path.name) and path.is_dir()]


def _order(name: str) -> tuple[str, int]:
    """What nights are sorted by: the date, then the number within it."""
    match = _NIGHT.fullmatch(name)
    assert match is not None
    return match[1], int(match[2] or 1)
