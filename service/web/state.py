"""What the routes share, and the runs of jobs as they are on disk."""

import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ...errors import InputError
from ...results.records.run import Run
from ...results.run_directory import existing_runs, read_run
from ..access.rates import Rates
from ..access.tokens import Access
from ..database.opened import Database
from ..queue.claims import Claims
from ..queue.jobs import Jobs
from ..tasks import Tasks


@dataclass(frozen=True, kw_only=True)
class Service:
    """`data` is the service's folder; `stopping` is set when no stream should go on; `secure`: cookies go
    over TLS alone.
    """

    data: Path
    database: Database
    access: Access
    jobs: Jobs
    claims: Claims
    tasks: Tasks
    rates: Rates
    logins: Rates = field(default_factory=lambda: Rates(0.2, 10))
    stopping: threading.Event = field(default_factory=threading.Event)
    secure: bool = False

    @property
    def runs(self) -> Path:
        """The folder of the runs, each called as its job."""
        return self.data / "runs"

    def run_folder(self, job_id: str) -> Path:
        """Where the newest run of a job is."""
        return next(existing_runs(self.runs / job_id), self.runs / job_id)

    def run(self, job_id: str) -> Run:
        """The run of a job. NoRunError before anything was measured."""
        return run_of(self.front_state(job_id))

    def front_state(self, job_id: str) -> "FrontState":
        """Which front the run of a job has now. NoRunError before anything was measured."""
        folder = self.run_folder(job_id)
        try:
            facts = (folder / "front.json").stat()
        except OSError as error:
            raise NoRunError("The search has measured nothing yet: look again when it has.") from error
        return FrontState(folder=folder, changed_ns=facts.st_mtime_ns, size=facts.st_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontState:
    """A front.json as it is now; another one has another state. What is made of a front is kept by it."""

    folder: Path
    changed_ns: int
    size: int


class NotThereError(InputError):
    """A search has nothing of this name: a point, a target, a file."""


class NoRunError(NotThereError):
    """The search has no front yet."""


@lru_cache(maxsize=32)
def run_of(state: FrontState) -> Run:
    """The run with this front."""
    return read_run(state.folder)
