"""`autocompress targets calibrate`: the latency table of a target, made with a task's model, and how well it
predicts.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from ...evaluation.predicted import PredictedTarget
from ...profiles.regression import PredictionError
from ...profiles.units import format_duration
from ...targets.lease import own_s
from ...targets.target import Target
from ...text.printable import printable
from ..latency.calibrate import Calibration, calibrate, check, open_table, time_shares
from ..latency.model import LatencyPredictor
from ..latency.shape_models import TIMING, ShapeModels
from .checked_request import CheckedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `targets calibrate` tells of a target.

    `before` and `in_turn` are the errors on random candidates, None without a check.
    """

    target: str
    task: str
    table: str
    note: str
    calibration: Calibration
    before: PredictionError | None
    in_turn: PredictionError | None

    def to_json(self) -> dict[str, Any]:
        """A JSON value for scripts, in which the candidates of earlier calibrations are `known`."""
        value = asdict(self)
        value["calibration"]["known"] = value["calibration"].pop("earlier")
        return value

    def __str__(self) -> str:
        done = self.calibration
        failed = f", {done.failed} failed" if done.failed else ""
        lines = [f"{self.note}"] if self.note else []
        lines += [
            f"Latency table of {self.target}, calibrated with {self.task}: "
            f"{done.measured} candidates measured "
            f"in {format_duration(done.seconds)}{failed}, {done.earlier} known before.",
            f"Table: {self.table}",
        ]
        if self.before is not None:
            lines += [
                f"Predicted before any was measured: {self.before}",
                f"Learning from each in turn: {self.in_turn}",
            ]
        return "\n".join(map(printable, lines))


def calibrate_targets(
    checked: CheckedRequest, *, budget_s: float, check_count: int, progress: Callable[[str], None]
) -> tuple[Report, ...]:
    """Calibrates each target with a task's model, and checks its table on random candidates.

    Calibrating takes about `budget_s` at most, of which several targets get a share each. The connection to a
    board ends with its calibration. Raises StageError when one candidate after the other fails.
    """
    start = own_s()
    shares = time_shares(lambda: budget_s - (own_s() - start), len(checked.targets))
    reports = []
    for asked, left_s in zip(checked.targets, shares, strict=True):
        target = asked.open()
        assert not isinstance(target, PredictedTarget)  # calibrating never allows predictions
        with closing(target), target.free() as free:
            reports.append(_report(checked, free, left_s, check_count=check_count, progress=progress))
    return tuple(reports)


def _report(
    checked: CheckedRequest,
    target: Target,
    left_s: Callable[[], float],
    *,
    check_count: int,
    progress: Callable[[str], None],
) -> Report:
    """Calibrates and checks one target."""
    task, batch = checked.checked.task, checked.request.batch
    network = checked.network.stored_as(target.profile.int8_weights)
    table = open_table(target)
    predictor = LatencyPredictor(network, checked.space, table, batch=batch)
    with ShapeModels(task, network, target, timing=TIMING.with_batch(batch)) as candidates:
        calibration = calibrate(predictor, candidates, time_left=left_s, progress=progress)
        before, in_turn = None, None
        if check_count:
            before, in_turn = check(predictor, candidates, count=check_count, progress=progress)
    return Report(
        target=target.profile.name,
        task=task.name,
        table=table.describe(),
        note=table.note,
        calibration=calibration,
        before=before,
        in_turn=in_turn,
    )
