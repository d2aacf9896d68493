"""RunWriter: front.json as the search goes on."""

import time
from dataclasses import replace

from ..evaluation.evaluate import Evaluator
from ..profiles import Environment
from ..results.records.run import Status
from ..results.run_directory import RunDirectory, read_front, write_run
from .finalists import Finalists
from .session.budget import Ledger
from .session.clock import Clock
from .session.memory import MemoryPeak
from .state import SearchState

WRITE_EVERY_S = 10.0


class RunWriter:
    """Writes the run of a search, once its original was measured."""

    def __init__(
        self,
        directory: RunDirectory,
        state: SearchState,
        *,
        evaluator: Evaluator,
        finalists: Finalists,
        clock: Clock,
        ledger: Ledger,
        memory: MemoryPeak,
        memory_bytes: int | None = None,
    ):
        self._directory = directory
        self._state = state
        self._evaluator = evaluator
        self._finalists = finalists
        self._clock = clock
        self._ledger = ledger
        self._memory, self._memory_bytes = memory, memory_bytes
        self._written_at = 0.0

    def write(self, status: Status) -> None:
        """Writes front.json, but not as long as it would have fewer points than before."""
        if len(self._state.points) < max(1, self._state.least):
            return
        self._state.learn_environments(self._environments())
        run = self._state.run_as(
            status, elapsed_s=self._clock.elapsed_s, look_failures=tuple(self._finalists.failures)
        )
        self._memory.look()
        search = replace(
            run.search,
            time=self._ledger.to_json(),
            peak_memory_bytes=max(self._memory.bytes, self._earlier_peak()),
            memory_limit_bytes=self._memory_bytes,
        )
        write_run(self._directory.path, replace(run, search=search))
        self._written_at = time.monotonic()

    def _earlier_peak(self) -> int:
        """That of earlier sessions."""
        before = read_front(self._directory.path)
        return 0 if before is None else before.search.peak_memory_bytes or 0

    def write_now_and_then(self) -> None:
        """The same of a search that goes on, when the last time was long ago."""
        if time.monotonic() - self._written_at > WRITE_EVERY_S:
            self.write("running")

    def _environments(self) -> dict[str, Environment]:
        """The environments of the targets that were asked, by name."""
        environments = {target.profile.name: target.environment for target in self._evaluator.targets}
        return {name: environment for name, environment in environments.items() if environment is not None}
