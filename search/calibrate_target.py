"""`autocompress targets calibrate`: the latency table of a target, made with a task's model, and how well it
predicts.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from ..profiles.regression import PredictionError
from ..profiles.units import format_duration
from ..targets.target import Target
from .latency.calibrate import Calibration, calibrate, check, open_table
from .latency.model import LatencyPredictor
from .latency.shape_models import TIMING, ShapeRuns
from .prepare import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `targets calibrate` tells: `before` and `in_turn` are the errors on random candidates, None
    without a check.
    """

    target: str
    task: str
    table: str
    note: str
    calibration: Calibration
    before: PredictionError | None
    in_turn: PredictionError | None

    def to_json(self) -> dict[str, Any]:
        """A JSON value."""
        return asdict(self)

    def __str__(self) -> str:
        done = self.calibration
        failed = f", {done.failed} failed" if done.failed else ""
        lines = [f"{self.note}"] if self.note else []
        lines += [
            f"Latency table of {self.target}, calibrated with {self.task}: {done.measured} candidates measured in "
            f"{format_duration(done.seconds)}{failed}, {done.known} known before.",
            f"Table: {self.table}",
        ]
        if self.before is not None:
            lines += [
                f"Predicted before any was measured: {self.before}",
                f"Learning from each in turn: {self.in_turn}",
            ]
        return "\n".join(lines)


def calibrate_target(
    problem: Problem, *, budget_s: float, check_count: int, progress: Callable[[str], None]
) -> Report:
    """Calibrates a target with a task's model, in at most about `budget_s`, and checks the table on random
    candidates.

    The connection to a board ends with it. Raises StageError when one candidate after the other fails.
    """
    start, target = time.monotonic(), problem.targets[0].open()
    assert isinstance(target, Target)  # calibrating never allows predictions
    timing = TIMING.with_batch(problem.request.batch)
    with closing(target), ShapeRuns(problem.checked.task, problem.network, target, timing=timing) as runs:
        table = open_table(target)
        predictor = LatencyPredictor(problem.network, problem.space, table, batch=problem.request.batch)
        done = calibrate(
            predictor, runs, time_left=lambda: budget_s - (time.monotonic() - start), progress=progress
        )
        errors = check(predictor, runs, count=check_count, progress=progress) if check_count else (None, None)
    return Report(
        target=problem.profile.name,
        task=problem.checked.task.name,
        table=table.describe(),
        note=table.note,
        calibration=done,
        before=errors[0],
        in_turn=errors[1],
    )
