"""The original in every runtime of a device, timed in turns: what makes latencies of two runtimes comparable.

Once as soon as all have measured it, and more rounds before the finalists where the intervals are wide. It
is kept in the run directory, so that a continued search does not repeat it.
"""

from collections.abc import Callable, Sequence

from ..errors import StageError, TargetUnavailable
from ..results.records.latency import half_width_of
from ..results.records.originals import InTurns
from ..results.records.point import Point
from ..results.records.reading import Fields
from ..results.run_directory import RunDirectory, read_kept, write_kept
from ..targets.target import Target
from ..targets.turns import HALF_WIDTH, ROUNDS_MAX, TIMING, Turn, middle_and_interval, ratios_in_turns
from .bench import Progress
from .evaluate import Evaluator

_FILE = "in_turns.json"
FIRST_WIDTH = 0.015  # of the intervals, relative, that is narrow enough for the search
FIRST_ROUNDS = 3  # at least: fresh processes say something about their spread
LEAST = 0.01  # of a ratio, whatever the interval of few rounds says
MOST_ROUNDS = 2 * ROUNDS_MAX  # of all sessions together


class Originals:
    """Times the originals of a run whose targets are alternatives; `in_turns` is what was seen, by target."""

    def __init__(self, directory: RunDirectory, evaluator: Evaluator, *, batch: int):
        self._directory = directory
        self._evaluator = evaluator
        self._timing = TIMING.with_batch(batch)
        self._ratios: dict[str, tuple[float, ...]] = read_kept(directory.path / _FILE, _read) or {}
        self.in_turns: dict[str, InTurns] = {}
        self._tell()

    def time(
        self, baseline: Point, *, longer: bool, progress: Progress, time_left: Callable[[], bool]
    ) -> bool:
        """Times what was not timed yet; with `longer`, more rounds where the intervals are not narrow.
        Whether anything was timed.

        Where it fails, runtimes are compared by the seconds of their measurements, which is less certain.
        """
        targets = self._targets(baseline)
        names = [target.profile.name for target in targets]
        width = HALF_WIDTH if longer else FIRST_WIDTH
        if len(targets) < 2 or not self._due(names, width, longer=longer):
            return False
        progress(f"timing the original in {len(targets)} runtimes in turns")
        try:
            turns = [self._turn(target, baseline) for target in targets]
            with targets[0].measuring():
                ratios = ratios_in_turns(
                    turns,
                    timing=self._timing,
                    half_width=width,
                    estimate=middle_and_interval,
                    rounds_min=FIRST_ROUNDS,
                    time_left=time_left,
                )
        except (StageError, TargetUnavailable) as error:
            self._directory.log("not timed in turns", message=str(error))
            return False
        before = self._ratios if names == [*self._ratios] else {}
        self._ratios = {
            name: (*before.get(name, ()), *each) for name, each in zip(names, ratios, strict=True)
        }
        write_kept(self._directory.path / _FILE, {"ratios": self._ratios})
        self._tell()
        return True

    def _due(self, names: Sequence[str], width: float, *, longer: bool) -> bool:
        """Whether a target is new, or the intervals are to be narrower and may become so."""
        if not self._ratios.keys() >= set(names):
            return True
        widest = max(half_width_of(one.interval) for one in self.in_turns.values())
        return longer and widest > width and max(map(len, self._ratios.values())) < MOST_ROUNDS

    def _tell(self) -> None:
        """Makes `in_turns` of the rounds so far, in place."""
        self.in_turns.clear()
        for name, ratios in self._ratios.items():
            ratio, interval = middle_and_interval(ratios)
            low, high = max(LEAST * ratio, interval[0]), interval[1]
            self.in_turns[name] = InTurns(ratio=ratio, interval=(low, high), rounds=len(ratios))

    def _targets(self, baseline: Point) -> list[Target]:
        """The targets on which the original was measured, and that answer now; none of a run that has no
        alternatives.
        """
        if self._evaluator.placing is None:
            return []
        return [
            target
            for target in self._evaluator.targets
            if isinstance(target, Target)
            and target.profile.name in baseline.measured
            and self._evaluator.availability.reason(target.profile.name) is None
        ]

    def _turn(self, target: Target, baseline: Point) -> Turn:
        measured = baseline.measured[target.profile.name]
        model = self._evaluator.bench.artifact_path(baseline.recipe, measured.artifact)
        return Turn(model=model, workload=target.workload, open_worker=target.open_worker)


def _read(fields: Fields) -> dict[str, tuple[float, ...]]:
    return fields.each("ratios", lambda entries, name: entries.numbers(name))
