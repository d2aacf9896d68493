"""The latency tables of a search: one for each target, calibrated before the first proposal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ...compress.compressor import Compressor
from ...compress.student.maker import StudentMaker
from ...errors import OutOfTime, StageError, TargetUnavailable, is_away
from ...evaluation.evaluate import Evaluator
from ...evaluation.predicted import PredictedTarget
from ...targets.pool.boards import Device
from ..latency.calibrate import calibrate, open_table, time_shares
from ..latency.model import LatencyPredictor
from ..latency.predict import predictor_of
from ..latency.shape_models import TIMING, ShapeModels
from ..space.runtimes import RuntimeSpaces
from ..trials import Trials


def share_left(trials: Trials, share_s: float) -> Callable[[], float]:
    """The seconds left of a table's share of the budget that begins now, and of the search."""
    start_s = trials.elapsed_s
    share_s *= trials.budget.of_tables(min(sum(point.seconds.values()) for point in trials.points))
    return lambda: min(share_s - (trials.elapsed_s - start_s), trials.left_s())


@contextmanager
def ending(students: StudentMaker, over: Callable[[], bool]) -> Iterator[None]:
    """A block in which long work of the students raises OutOfTime when its time is `over`."""
    before = students.between

    def between() -> None:
        before()
        if over():
            raise OutOfTime("The time for this part of the search is over.")

    students.between = between
    try:
        yield
    finally:
        students.between = before


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTables:
    """Opens and calibrates the latency tables of a search's targets; of alternatives each draws candidates
    from the space of its runtime.
    """

    trials: Trials
    compressor: Compressor
    evaluator: Evaluator
    batch: int
    runtimes: RuntimeSpaces | None = None

    def calibrated(self, targets: Sequence[str]) -> dict[str, LatencyPredictor]:
        """The predictor of each target, calibrated in its share of the time for latency tables.

        The search waits for a single target that is away. With several, a target that is away is left out,
        or keeps the table that it has. TargetUnavailable when no target is left.
        """
        predictors: dict[str, LatencyPredictor] = {}
        left_s = share_left(self.trials, self.trials.budget.latency_s)
        with self.trials.timed("latency table"), self.trials.interruptible():
            for target, target_left_s in zip(targets, time_shares(left_s, len(targets)), strict=True):
                try:
                    predictors[target] = self.predictor(target)
                    self._calibrate(predictors[target], target, target_left_s, patient=len(targets) == 1)
                except TargetUnavailable as error:
                    if len(targets) == 1 or (target == targets[-1] and not predictors):
                        raise
                    self.evaluator.availability.gone(target, str(error))
        return predictors

    def predictor(self, target: str) -> LatencyPredictor:
        """The predictor of a target, with the measurements so far. TargetUnavailable when the target does
        not answer.

        For a target that cannot be used, it learns from predictions.
        """
        opened, trials = self.evaluator.target(target), self.trials
        network = self.compressor.network.stored_as(opened.profile.int8_weights)
        if isinstance(opened, PredictedTarget):
            return predictor_of(opened, network, trials.space, batch=self.batch, progress=trials.stage)
        drawable = None if self.runtimes is None else self.runtimes.own[target]
        return LatencyPredictor(
            network, trials.space, open_table(opened), batch=self.batch, drawable=drawable
        )

    def _calibrate(
        self, predictor: LatencyPredictor, target: str, left_s: Callable[[], float], *, patient: bool
    ) -> None:
        """Without a table the search goes on: measured candidates teach the predictor as well."""
        opened, trials = self.evaluator.target(target), self.trials
        if isinstance(opened, PredictedTarget):
            return
        try:
            if patient:
                self.evaluator.patience.until_back(
                    lambda: self._measure(predictor, opened, left_s), name=target, say=trials.stage
                )
            else:
                self._measure(predictor, opened, left_s)
        except StageError as error:
            if is_away(error) and not patient:
                self.evaluator.availability.gone(target, str(error))
            of_several = "" if patient else f" of '{target}'"
            trials.note(
                f"Note: the latency table{of_several} could not be made ({error}); "
                "measured candidates will teach it."
            )

    @property
    def _shape_s(self) -> float:
        """What building and measuring took at least: a candidate of which only shapes count takes as long."""
        parts = ("prune", "build", "measure", "timing loop")
        return min(sum(point.seconds.get(part, 0.0) for part in parts) for point in self.trials.points)

    def _measure(self, predictor: LatencyPredictor, target: Device, left_s: Callable[[], float]) -> None:
        compressor, timing = self.compressor, TIMING.with_batch(self.batch)
        with (
            target.free() as free,
            ShapeModels(
                compressor.task, compressor.network, free, timing=timing, cache_dir=compressor.cache_dir
            ) as candidates,
        ):
            calibrate(
                predictor, candidates, time_left=left_s, longest=self._shape_s, progress=self.trials.stage
            )
        if predictor.table.note:
            self.trials.note(f"Note: {predictor.table.note}")
