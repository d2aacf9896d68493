"""What `verify RUN` does on one target: points measured now, against what the run says of them.

A run with predicted latencies learns what they were worth, one that was measured whether it still holds: on
another device, after an update of the runtime. `verify_run.py` goes through the targets.

What counts as regressed, for every point:

- its latency was measured on a target of this name, and the interval of the new ratio to the original starts
  more than `ROOM` above the end of the old one: differences from hour to hour stay below that,
- it met the search's latency limit, and the interval of the new latency starts above it,
- its metric on validation is below the interval that the run states (`QUALITY_ROOM` of it where there is
  none),
- it cannot be built or run on the target.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunDirectoryError, StageError, TargetUnavailable, TaskError
from ..files import digest_of_file
from ..profiles import TimingConfig
from ..profiles.regression import PredictionError
from ..results.formats import Point, Run, is_predicted, label_of, ratio_interval_of, ratio_of, seconds_of
from ..results.pick import excess_of, limits_of
from ..results.records import Latency
from ..results.views import has_several, is_measured_on, point_on, run_on, targets_of
from ..search.evaluation.availability import is_away
from ..search.evaluation.evaluate import VALIDATION_BATCH, StoredSplit
from ..search.evaluation.several import NamedTarget, target_at
from ..targets.here import require_here
from ..targets.store import MeasurementStore
from ..targets.target import Target, TargetSession
from ..tasks.load import load_task
from ..tasks.quality import score
from ..tasks.task import Metric

ROOM = 0.05  # relative, on the ratio of two latencies
QUALITY_ROOM = 0.01  # relative, where the run states no interval

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores files on the validation split of the task; `inputs` are what latencies are timed with."""

    metric: Metric
    split: StoredSplit

    def score(self, session: TargetSession, model: Path, *, batch: int) -> float:
        """The metric of a file on the session's target. Raises StageError."""
        inputs = self.split.inputs
        outputs = session.run(model, inputs, batch=session.running_batch(VALIDATION_BATCH, measured=batch))
        return score(self.metric, outputs, self.split.targets)


def scorer_or_reason(facts: Mapping[str, Any], folder: Path) -> tuple[Scorer | None, str]:
    """The scorer of the task that a run or manifest names, or None and why it cannot be loaded here. It
    writes to `folder`.
    """
    try:
        task = load_task(facts["spec"], facts["arguments"])
    except TaskError as error:
        return None, str(error)
    return Scorer(metric=task.metric, split=StoredSplit(task.validation, folder / "validation.npz")), ""


def usable_target(named: NamedTarget, store: MeasurementStore | None, *, inputs: Path | None) -> Target:
    """The target, which answered. TargetUnavailable says which one did not, and why."""
    try:
        if named.address.local:
            require_here(named.profile)
        target = target_at(named.profile, named.address, store, inputs=inputs, clocks=named.clocks)
        target.probe()
    except TargetUnavailable as error:
        raise TargetUnavailable(f"Target '{named.profile.name}': {error}") from error
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What a run says of the points that are verified on one target: the run as that target sees it, points,
    files by trial.
    """

    view: Run
    points: list[Point]
    files: Mapping[int, Path]

    @classmethod
    def of(cls, path: Path, run: Run, target: str) -> "Stated":
        """The original, uniform int8, the target's front, and of several targets the joint front where it was
        measured there.

        A target that the run does not know is compared with what the primary one was. RunDirectoryError when
        a file is damaged.
        """
        name = target if target in targets_of(run) else targets_of(run)[0]
        view = run_on(run, name)
        listed = [view["baseline"], *([view["uniform_int8"]] if view["uniform_int8"] else []), *view["front"]]
        if has_several(run):
            listed += [point_on(point, name) for point in run["front"] if is_measured_on(point, name)]
        points = list({point["trial"]: point for point in listed}.values())
        return cls(view=view, points=points, files={point["trial"]: _file(path, point) for point in points})

    def measure(
        self,
        target: Target,
        rows: MutableMapping[str, Any],
        *,
        scorer: Scorer | None,
        timing: TimingConfig,
        say: Say,
    ) -> Iterator[None]:
        """Measures what `rows` (by the digest of a point's file) lack, and yields after each.
        TargetUnavailable when it is lost.
        """
        for number, point in enumerate(self.points, 1):
            digest = point["artifact"]["digest"]
            if digest not in rows:
                say(
                    f"verifying {number} of {len(self.points)} on {target.profile.name}: {label_of(point, self.view)}"
                )
                model, baseline = self.files[point["trial"]], self.files[self.points[0]["trial"]]
                rows[digest] = _measured(target, model, baseline, scorer=scorer, timing=timing)
                yield

    def compared(self, now: Mapping[str, Any], named: NamedTarget, *, reason: str) -> dict[str, Any]:
        """What was found on the target, a JSON value. `now` has the `rows`, their time `at` and the
        `environment`.

        `reason` says why quality was not looked at.
        """
        rows, profile = now["rows"], named.profile
        found = [
            _row(point, rows[point["artifact"]["digest"]], self.view, name=profile.name)
            for point in self.points
        ]
        both = [row for row in found if row["latency"] is not None]
        spent = [(row["earlier_s"], row["latency"]["latency_s"]) for row in both]
        error = PredictionError.of([earlier for earlier, _ in spent], [now for _, now in spent])
        earlier = self.view["target"]
        return {
            "at": now["at"],
            "target": {
                "name": profile.name,
                "address": str(named.address),
                "profile_fingerprint": profile.fingerprint,
            },
            "environment": now["environment"],
            "earlier": {"target": earlier["name"], "predicted": earlier.get("predicted")},
            "batch": earlier["batch"],
            "points": found,
            "count": error.count,
            "kendall_tau": error.kendall_tau,
            "median_error": error.median,
            "p90_error": error.p90,
            "quality_not_verified": reason or None,
            "regressed": any(row["regressed"] for row in found),
        }


def _file(path: Path, point: Point) -> Path:
    """The point's file. RunDirectoryError when it is gone or is another one."""
    file = path / str(point["artifact"]["file"])
    if not file.is_file() or digest_of_file(file) != point["artifact"]["digest"]:
        what = "is not the file that the run describes" if file.is_file() else "is gone"
        raise RunDirectoryError(f"{file} {what}: run the search's command again to rebuild it.")
    return file


def _measured(
    target: Target, model: Path, baseline: Path, *, scorer: Scorer | None, timing: TimingConfig
) -> dict[str, Any]:
    """`latency` and `quality` of a file now; or the `failure`. TargetUnavailable when the target is lost."""
    try:
        with target.session() as session:
            latency = Latency.of(session.measure(model, baseline, timing)).to_json()
            quality = scorer.score(session, model, batch=timing.batch) if scorer else None
    except StageError as error:
        refuse_lost(error, target.profile.name)
        return {"latency": None, "quality": None, "failure": f"{error.stage}: {error}"}
    return {"latency": latency, "quality": quality, "failure": None}


def refuse_lost(error: StageError, name: str) -> None:
    """TargetUnavailable when the error says nothing of the file: the target is away, or too restless to
    measure on.
    """
    if is_away(error):
        raise TargetUnavailable(f"Target '{name}' was lost; the same command goes on. {error}") from error
    if error.kind == "noisy":
        raise TargetUnavailable(
            f"Target '{name}' is too restless now; the same command goes on. {error}"
        ) from error


def _row(point: Point, now: Mapping[str, Any], view: Run, *, name: str) -> dict[str, Any]:
    """A point then and now. `error` is the earlier latency / the measured one - 1."""
    latency, quality = now["latency"], now["quality"]
    again = {**point, "latency": latency or point["latency"]}
    if quality is not None:
        again["drop"] = point["drop"] + _worse(point, quality, view)
    limits = limits_of(view)
    before, after = excess_of(point, limits), excess_of(again, limits)
    return {
        "trial": point["trial"],
        "label": label_of(point, view),
        "predicted": is_predicted(point),
        "earlier_s": seconds_of(point),
        "earlier_ratio": ratio_of(point),
        "earlier_interval": ratio_interval_of(point),
        "latency": latency,
        "error": seconds_of(point) / latency["latency_s"] - 1 if latency else None,
        "quality": {
            "earlier": point["quality"]["validation"],
            "interval": point["quality"]["interval"],
            "now": quality,
        },
        "breaks": [limit for limit in after if limit not in before],
        "regressed": _regressions(point, now, view, same=view["target"]["name"] == name),
    }


def _regressions(point: Point, now: Mapping[str, Any], view: Run, *, same: bool) -> list[str]:
    """What is worse than the run states, in words; see the top of this file."""
    if now["failure"]:
        return [f"cannot be measured, {now['failure']}"]
    found, (low_s, _), (low, _) = [], now["latency"]["interval_s"], now["latency"]["ratio_interval"]
    earlier, limit_s = ratio_interval_of(point), limits_of(view).latency_s
    if same and earlier is not None and low > earlier[1] * (1 + ROOM):
        found.append("slower than was measured")
    if limit_s is not None and seconds_of(point) <= limit_s < low_s:
        found.append("breaks the latency limit")
    if now["quality"] is not None and quality_fell(point["quality"], now["quality"], view["task"]["metric"]):
        found.append("loses quality")
    return found


def quality_fell(stated: Mapping[str, Any], now: float, metric: Mapping[str, Any]) -> bool:
    """Whether a metric is worse than the interval that was stated, or than QUALITY_ROOM of the value without
    one.
    """
    value, interval = stated["validation"], stated["interval"]
    if metric["direction"] == "lower":
        return bool(now > (interval[1] if interval else value + QUALITY_ROOM * abs(value)))
    return bool(now < (interval[0] if interval else value - QUALITY_ROOM * abs(value)))


def _worse(point: Point, quality: float, view: Run) -> float:
    """By how much the metric is worse now, in its unit."""
    change = float(point["quality"]["validation"]) - quality
    return -change if view["task"]["metric"]["direction"] == "lower" else change
