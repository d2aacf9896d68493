"""Search: what every way of searching shares. A strategy says what to try, then the finalists are looked at.

`study.py` explains what a kill leaves behind and how it is taken up again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from optuna.trial import Trial, TrialState

from ..compress.student.maker import StudentMaker
from ..errors import OutOfTime, StageError, TargetUnavailable
from ..evaluation.bench import Progress
from ..profiles import format_duration
from ..results.formats import load_sentence
from ..results.records.point import Measured, Point
from ..results.records.run import Run, Status
from ..results.run_directory import RunDirectory, disk_errors, read_front
from ..targets.lease import WAITS
from .finalists import Finalists, by_contribution
from .rebuild import rebuild
from .session.budget import LEAST_FINALISTS, look_s
from .session.crash import CrashNote
from .session.status import races_sentence
from .session.waits import WaitsShown, search_in
from .study_file import storage_errors
from .trials import Trials

MOST = 1.1  # of the budget, for the first LEAST_FINALISTS
_CRASH = "crash.txt"
_WORTH_TELLING_S = 5.0
_UNCOUNTED = " The time does not count for the budget."


class Look(Protocol):
    """A kind of look at finalists: Finalists.look_at or .look_again."""

    def __call__(
        self,
        points: Sequence[Point],
        *,
        baseline: Point,
        progress: Progress,
        time_left: Callable[[], bool],
    ) -> bool:
        """Whether there was anything to look at."""
        ...


class Strategy(Protocol):
    """Decides what a search tries. `Sequential` asks a sampler for one measured candidate after the other,
    `RungSearch` climbs.
    """

    def search(self, trials: Trials, interrupted: list[Trial]) -> None:
        """Tries candidates until `trials.time_left()` is False; first those that a killed session left
        RUNNING. What front.json tells of its own work goes to `trials.tell`.
        """
        ...


@dataclass(slots=True, kw_only=True)
class Fits:
    """Whether one more of many like tasks ends within the budget, as long as the longest so far takes, the
    first `longest_s`. It is asked before each of them.
    """

    budget_s: float | None
    elapsed_s: Callable[[], float]
    longest_s: float = 0.0
    _since_s: float | None = None

    def __call__(self, share: float = 1.0) -> bool:
        """Whether it ends within this share of the budget."""
        now_s = self.elapsed_s()
        if self._since_s is not None:
            self.longest_s = max(self.longest_s, now_s - self._since_s)
        self._since_s = now_s
        return self.budget_s is None or now_s + self.longest_s < share * self.budget_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search that is ready to run. `students` are those of its compressor."""

    trials: Trials
    strategy: Strategy
    finalists: Finalists
    students: StudentMaker | None = None

    @property
    def directory(self) -> RunDirectory:
        """Where the run is."""
        return self.trials.directory

    def run(self) -> Status:
        """Searches until the budget is spent, then looks at the finalists; front.json is written in any case.

        Returns `interrupted` after Ctrl-C. Raises TaskError or TargetUnavailable when the original cannot be
        measured, and TargetUnavailable, the run being as after Ctrl-C, when all targets were away for too
        long.
        """
        trials = self.trials
        status: Status = "interrupted"
        away: TargetUnavailable | None = None
        note = CrashNote(trials.directory.path / _CRASH)
        disk = disk_errors(trials.directory.path)
        waited_before_s = WAITS.seconds
        waits = WAITS.told(search_in(trials.directory.path), WaitsShown(trials.progress, remark=_UNCOUNTED))
        with waits, disk, storage_errors(trials.directory.study), trials.clock, trials.interrupts, note:
            try:
                unfinished = self._resume(note.before)
                trials.begin()
                trials.time_originals()
                with self._ending_in_time():
                    self.strategy.search(trials, unfinished)
                trials.try_set_aside(self._time_left)
                self._look_at_finalists()
                self._rebuild()
                if trials.state.stopped:
                    trials.note(races_sentence(trials.state.run))
                status = "finished"
            except KeyboardInterrupt:
                trials.note("Interrupted: the same command goes on from here.")
            except TargetUnavailable as error:
                if not trials.points:
                    raise
                away = error
            trials.study.release_all()
            trials.writer.write(status)
        waited_s = WAITS.seconds - waited_before_s
        if waited_s >= _WORTH_TELLING_S:
            waited = format_duration(waited_s)
            trials.note(f"Waited {waited} for other processes that measured here, beside the budget.")
        trials.log("ended", status=status, elapsed_s=trials.elapsed_s)
        if away is not None:
            text = (
                f"{away} The search stopped; what it found is kept, and the same command goes on from here."
            )
            raise TargetUnavailable(text) from away
        return status

    @contextmanager
    def _ending_in_time(self) -> Iterator[None]:
        """Ends the block where the level database works on when the time for candidates is over."""
        if self.students is None:
            yield
            return
        self.students.between = self.trials.require_time
        try:
            yield
        except OutOfTime:
            self.trials.note("The time was over before the level database had all that a candidate needs.")
        finally:
            self.students.between = lambda: None

    def _resume(self, crash: str) -> list[Trial]:
        """Takes up what earlier sessions left; the trials that they did not finish. `crash` is what a fatal
        signal left.
        """
        trials, state = self.trials, self.trials.state
        before = read_front(trials.directory.path)
        if before is not None:
            state.take_over(before)
            note = rebuild(trials.study.stored, before, trials.space, trials.directory)
            if note:
                trials.note(note)
        for point in sorted(trials.study.points(), key=lambda point: point.elapsed_s):
            trials.learn(trials.queue.restored(point))
        state.failures.extend(trials.study.failures())
        for stopped in trials.study.stopped():
            trials.screen.learn(state.stop(stopped))
        state.screened = trials.study.screened_count()
        state.changed()
        trials.queue.correct()  # what a session killed in the middle of catching up had not told yet
        for trial in trials.records:
            if trial.params and trial.state.is_finished() and trial.user_attrs.get("screened") != "time":
                recipe = trials.space.recipe_of(trial.params)
                trials.tried.add(recipe.digest)
                if trial.state == TrialState.FAIL:
                    trials.screen.learn_failure(recipe, trial.number)
        adopted = trials.study.adopt(trials.complete, crash=crash)
        trials.set_aside.extend(adopted.set_aside)
        trials.tried.update(trials.space.suggest(trial).digest for trial in adopted.set_aside)
        state.failures[:] = trials.study.failures()  # adopting gives up what crashed again and again
        state.changed()
        trials.queue.catch_up(lambda: True)  # a budget is for candidates: a board may be back without one
        return adopted.first

    def _look_at_finalists(self) -> None:
        """The longer look at the original, the front and uniform int8; again while that changes the front.

        Then what is still too wide is measured again.
        """
        trials, finalists = self.trials, self.finalists
        trials.evaluator.availability.ask_all()
        budget_s = trials.options.budget_s
        caught_up = Fits(budget_s=budget_s, elapsed_s=lambda: trials.elapsed_s)
        fits = replace(caught_up, longest_s=look_s(trials.points))
        trials.queue.catch_up(lambda: caught_up(MOST))
        trials.queue.correct()
        trials.time_originals(longer=True)
        for _ in range(3 if trials.options.finalists else 0):
            looked = self._looked(
                finalists.look_at, lambda: fits(MOST if len(finalists.looks) < LEAST_FINALISTS else 1.0)
            )
            if not looked and not self._looked(finalists.look_again, fits):
                break
        self._tell_noisy()

    def _looked(self, look: Look, time_left: Callable[[], bool]) -> bool:
        """Whether a kind of look was taken at any point."""
        trials = self.trials
        with trials.interruptible(), trials.timed("finalists"):
            looked = look(
                self._shown(),
                baseline=trials.state.points[0],
                progress=trials.stage,
                time_left=time_left,
            )
        trials.state.changed()
        return looked

    def _tell_noisy(self) -> None:
        """Notes which points of the front are not known well, and how busy the machine was."""
        for point in self.trials.state.run.front:
            for measured in point.measured.values():
                if said := load_sentence(measured.latency):
                    self.trials.note(f"Note: the latency of trial {point.trial} is noisy, {said}.")

    def _time_left(self) -> bool:
        budget_s = self.trials.options.budget_s
        return budget_s is None or self.trials.elapsed_s < budget_s

    def _shown(self) -> list[Point]:
        """The points that `verify` and bundles read the files of, as they were measured: the original, the
        front, what adds most first, the fronts of single targets, and uniform int8.
        """
        run = self.trials.state.run
        if run.device is not None:
            return self._placements(run)
        order = [0, *(point.trial for point in by_contribution(run.front, run.vector))]
        order += [trial for front in run.fronts.values() for trial in front]
        order += [] if run.uniform_trial is None else [run.uniform_trial]
        by_trial = {point.trial: point for point in self.trials.state.points}
        return [by_trial[trial] for trial in dict.fromkeys(order)]

    def _placements(self, run: Run) -> list[Point]:
        """The same of alternatives, as they were measured: the original in all, others where they count."""
        by_trial = {point.trial: point for point in self.trials.state.points}
        front = sorted(run.front, key=lambda point: run.vector(point)[2])
        uniform = [] if run.uniform_int8 is None else [run.uniform_int8]
        keys = [(point.trial, name) for point in (*front, *uniform) for name in run.measured(point)]
        original = by_trial[run.baseline.trial]
        return [original, *(by_trial[trial].on(name) for trial, name in dict.fromkeys(keys) if trial)]

    def _rebuild(self) -> None:
        """Builds files again that somebody deleted."""
        trials = self.trials
        for point, measured in self._gone():
            trials.stage(f"trial {point.trial}: its file is gone, building it again")
            try:
                with trials.interruptible():
                    trials.evaluator.bench.artifact_path(point.recipe, measured.artifact)
            except StageError as error:
                trials.note(f"The file of trial {point.trial} cannot be built again: {error}")

    def _gone(self) -> Iterator[tuple[Point, Measured]]:
        """The points that are shown, on the targets where their files are gone now."""
        for point in self._shown():
            for measured in point.measured.values():
                if not (self.trials.directory.path / measured.artifact.file).is_file():
                    yield point, measured
