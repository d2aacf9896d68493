"""What the routes share, and the runs of jobs as they are on disk."""

import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ...results.records.run import Run
from ...results.run_directory import existing_runs
from ..access.rates import Rates
from ..access.tokens import Access
from ..database.opened import Database
from ..nights.files import NightFiles
from ..nights.runner import NightRunner
from ..queue.claims import Claims
from ..queue.jobs import Jobs
from ..tasks import Tasks
from ..traces import Traces
from ..uploads import Uploads
from .drawing.drawn import Drawings, Drawn
from .front_state import FrontState, run_of

if TYPE_CHECKING:
    from ..access.oidc import SignIn


@dataclass(frozen=True, kw_only=True)
class Service:
    """`data` is the service's folder; `stopping` is set when no stream should go on; `secure`: cookies go
    over TLS alone; `sign_in`: people may log in by an OpenID provider.
    """

    data: Path
    database: Database
    access: Access
    jobs: Jobs
    claims: Claims
    tasks: Tasks
    rates: Rates
    drawings: Drawings
    night_files: NightFiles
    night_runner: NightRunner
    uploads: Uploads
    work_rates: Rates | None = None
    logins: Rates = field(default_factory=lambda: Rates(0.2, 10))
    stopping: threading.Event = field(default_factory=threading.Event)
    secure: bool = False
    sign_in: "SignIn | None" = None
    traces: Traces | None = None

    @property
    def runs(self) -> Path:
        """The folder of the runs, each called as its job."""
        return self.data / "runs"

    def run_folder(self, job_id: str) -> Path:
        """Where the newest run of a job is."""
        return next(existing_runs(self.runs / job_id), self.runs / job_id)

    def disk_of(self, job_id: str) -> int:
        """The bytes of all that is kept of a job."""
        return sum(
            path.lstat().st_size
            for place in self._places(job_id)
            for path in place.rglob("*")
            if path.is_file() and not path.is_symlink()
        )

    def remove_files(self, job_id: str) -> None:
        """Removes all that is kept of a job on disk; its row and its log stay."""
        for place in self._places(job_id):
            shutil.rmtree(place, ignore_errors=True)

    def _places(self, job_id: str) -> tuple[Path, ...]:
        beside = sorted(self.runs.glob(f"{job_id}-*"))
        return (self.runs / job_id, *beside, self.data / "bundles" / job_id, self.data / "drawn" / job_id)

    def run(self, job_id: str) -> Run:
        """The run of a job. NoRunError before anything was measured."""
        return run_of(self.front_state(job_id))

    def front_state(self, job_id: str) -> FrontState:
        """Which front the run of a job has now. NoRunError before anything was measured."""
        return FrontState.of(self.run_folder(job_id))

    def drawn(self, job_id: str) -> Drawn | None:
        """What is drawn of a job's front; None before anything is. NoRunError before a measurement."""
        return self.drawings.of(job_id, self.front_state(job_id))
