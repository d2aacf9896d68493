"""Which front a run has now, and the run with it."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...errors import InputError
from ...results.records.run import Run
from ...results.run_directory import read_run


class NotThereError(InputError):
    """A search has nothing of this name: a point, a target, a file."""


class NoRunError(NotThereError):
    """The search has no front yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontState:
    """A front.json as it is now; another one has another state. What is made of a front is kept by it."""

    folder: Path
    changed_ns: int
    size: int

    @classmethod
    def of(cls, folder: Path) -> "FrontState":
        """The state of the run in a folder. NoRunError before anything was measured."""
        try:
            facts = (folder / "front.json").stat()
        except OSError as error:
            raise NoRunError("The search has measured nothing yet: look again when it has.") from error
        return cls(folder=folder, changed_ns=facts.st_mtime_ns, size=facts.st_size)

    @property
    def name(self) -> str:
        """The state as a text."""
        return f"{self.folder.name}:{self.changed_ns}:{self.size}"


@lru_cache(maxsize=32)
def run_of(state: FrontState) -> Run:
    """The run with this front."""
    return read_run(state.folder)
