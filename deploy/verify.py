"""`verify RUN` on one target: points are measured again and compared with the run.

This shows how good predicted latencies were, and whether measured ones still hold on another device or after
an update of the runtime. `verify_run.py` goes through the targets.

What counts as regressed, for every point:

- its latency was measured on a target of this name, and the interval of the new ratio to the original starts
  more than `ROOM` above the end of the old one: differences from hour to hour stay below that. It is measured
  up to `LOOKS` times, and every time must say so,
- it met the search's latency limit, and the interval of the new latency starts above it; on a target of this
  name that is the new ratio times what the original took when the limit was judged, so that the hour does
  not count,
- its drop against the original, scored again too, is above the interval of the drop that the run states;
  where one of these is not known: its metric on validation is below the interval of the metric
  (`QUALITY_ROOM` of it where there is none),
- it cannot be built or run on the target.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunDirectoryError, StageError, TargetUnavailable, is_away
from ..evaluation.targets import NamedTarget, target_at
from ..files import digest_of_file, file_below
from ..profiles import Measurement, TimingConfig
from ..results.formats import label_of, ratio_interval_of
from ..results.records.energy import Energy
from ..results.records.facts import MetricFacts
from ..results.records.latency import AnyLatency, Latency
from ..results.records.point import Quality
from ..results.records.reading import Interval
from ..results.records.run import Run
from ..results.records.verification import TargetVerification, VerifiedPoint
from ..results.view import PointOn, RunOn
from ..targets.control import patiently
from ..targets.here import require_here
from ..targets.model_files.one_file import require_whole
from ..targets.pool.boards import Device
from ..targets.store import MeasurementStore
from .unfinished import FileNow, TargetNow, now

if TYPE_CHECKING:
    from .scoring import Scorer, Scoring

ROOM = 0.05  # relative, on the ratio of two latencies
LOOKS = 3  # at what seems slower
QUALITY_ROOM = 0.01  # relative, where the run states no interval

Say = Callable[[str], None]


def usable_target(named: NamedTarget, store: MeasurementStore | None, *, inputs: Path | None) -> Device:
    """The target, which answered. TargetUnavailable says which one did not, and why."""
    try:
        if named.address.local:
            require_here(named.profile)
        target = target_at(
            named.profile, named.address, store, inputs=inputs, sizes=named.sizes, clocks=named.clocks
        )
        target.probe()
    except TargetUnavailable as error:
        raise TargetUnavailable(f"Target '{named.profile.name}': {error}") from error
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What a run says of the points that are verified on one target: the run as that target sees it, points,
    files by trial.
    """

    view: RunOn
    points: tuple[PointOn, ...]
    files: Mapping[int, Path]

    @classmethod
    def of(cls, path: Path, run: Run, target: str) -> "Stated":
        """The original, uniform int8, the target's front, and what is on the front of all targets together.

        A target that the run does not have is compared with the run's first one. RunDirectoryError when a
        file is damaged.
        """
        name = target if target in run.target_names else run.target_names[0]
        view = RunOn.of(run, name)
        joint = {point.trial for point in run.front}
        listed = [view.baseline, *([view.uniform_int8] if view.uniform_int8 else []), *view.front]
        listed += [point for point in view.points if point.trial in joint]
        points = tuple({point.trial: point for point in listed}.values())
        return cls(view=view, points=points, files={point.trial: _file(path, point) for point in points})

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of the points' files."""
        return tuple(point.artifact.digest for point in self.points)

    def measure(
        self,
        target: Device,
        measured: TargetNow,
        *,
        scorer: "Scorer | None",
        timing: TimingConfig,
        say: Say,
        note: Say,
    ) -> Iterator[TargetNow]:
        """Measures the files that `measured` lacks, and yields it with one more after each.

        TargetUnavailable when the target is lost.
        """
        baseline, name = self.files[self.points[0].trial], target.profile.name
        same = name == self.view.target.name
        for number, point in enumerate(self.points, 1):
            digest = point.artifact.digest
            if digest not in measured.files:
                label = label_of(point, self.view)
                say(f"verifying {number} of {len(self.points)} on {name}: {label}")
                stated = ratio_interval_of(point.latency) if same else None
                files = self.files[point.trial], baseline
                file = _measured(target, files, scorer, stated=stated, timing=timing, note=note)
                measured = replace(measured, files={**measured.files, digest: file}, at=now())
                yield measured

    def compared(self, measured: TargetNow, named: NamedTarget, scoring: "Scoring") -> TargetVerification:
        """The points then and now."""
        profile, earlier = named.profile, self.view.target
        same = profile.name == earlier.name
        original = measured.files[self.points[0].artifact.digest].quality
        points = [
            _verified(each, measured.files[each.artifact.digest], original=original, same=same)
            for each in self.points
        ]
        return TargetVerification(
            at=measured.at,
            target=profile.name,
            address=str(named.address),
            profile_fingerprint=profile.fingerprint,
            environment=measured.environment,
            earlier_target=earlier.name,
            prediction=earlier.prediction,
            batch=earlier.batch,
            points=tuple(points),
            quality_not_verified=scoring.reason,
            task_differs=scoring.differs,
        )


def _file(path: Path, point: PointOn) -> Path:
    """The point's file. RunDirectoryError when it is gone or is another one, InputError when it is not the
    run's.
    """
    facts, file = point.artifact, file_below(path, point.artifact.file)
    same = file.is_file() and file.stat().st_size == facts.size_bytes
    if not same or digest_of_file(file) != facts.digest:
        what = "is not the file that the run describes" if file.is_file() else "is gone"
        raise RunDirectoryError(f"{file} {what}: run the search's command again to rebuild it.")
    require_whole(file)
    return file


def looked_at(
    measure: Callable[[TimingConfig], Measurement],
    timing: TimingConfig,
    *,
    stated: Interval | None,
    note: Say,
) -> Measurement:
    """What is measured, again where it seems slower than the ratio that was stated (None: nothing is
    compared). Raises StageError.
    """
    for number in range(1, LOOKS + 1):
        seen = patiently(partial(measure, replace(timing, round=number)), note)
        if stated is None or not slower(seen.ratio_interval, stated):
            break
    return seen


def slower(now: Interval, stated: Interval) -> bool:
    """Whether a ratio is beyond the stated one: their intervals are more than `ROOM` apart."""
    return now[0] > stated[1] * (1 + ROOM)


def _measured(
    target: Device,
    files: tuple[Path, Path],
    scorer: "Scorer | None",
    *,
    stated: Interval | None,
    timing: TimingConfig,
    note: Say,
) -> FileNow:
    """The first file now, beside the second. TargetUnavailable when the target is lost."""
    try:
        with target.session() as session:
            measure = partial(session.measure, *files)
            latency = Latency.of(looked_at(measure, timing, stated=stated, note=note))
            quality = scorer.score(session, files[0], batch=timing.batch) if scorer else None
    except StageError as error:
        refuse_lost(error, target.profile.name)
        return FileNow(failure=f"{error.stage}: {error}")
    return FileNow(latency=latency, quality=quality)


def refuse_lost(error: StageError, name: str) -> None:
    """TargetUnavailable when the error is not about the file: the target is away, or too noisy to measure."""
    if is_away(error):
        raise TargetUnavailable(f"Target '{name}' was lost; the same command goes on. {error}") from error
    if error.kind == "noisy":
        raise TargetUnavailable(
            f"Target '{name}' is too restless now; the same command goes on. {error}"
        ) from error


def _verified(point: PointOn, file: FileNow, *, original: float | None, same: bool) -> VerifiedPoint:
    """A point then and now. `original` is the original's metric now; `same`: it was measured on a target of
    this name before.
    """
    return VerifiedPoint(
        trial=point.trial,
        label=label_of(point, point.view),
        earlier_s=point.latency.seconds,
        earlier_ratio=point.latency.ratio,
        earlier_interval=ratio_interval_of(point.latency),
        earlier_quality=point.quality.validation,
        earlier_quality_interval=point.quality.interval,
        latency=file.latency,
        quality=file.quality,
        breaks=_breaks(point, file, original, same=same),
        regressed=regressions(point, file, original=original, same=same),
    )


def _drop_now(point: PointOn, file: FileNow, original: float | None) -> float | None:
    """The drop against the original as it is now, None where one of the two was not scored."""
    if file.quality is None or original is None:
        return None
    return point.view.task.metric.drop(file.quality, baseline=original)


def _comparable_s(point: PointOn, latency: AnyLatency, ratio: float, *, same: bool) -> float:
    """The seconds of a ratio: on the target that the point was measured on, beside the original as it was
    then; otherwise beside the original as it is now.
    """
    beside = point.latency if same and not point.predicted else latency
    return ratio * beside.seconds / beside.ratio


def _comparable_j(point: PointOn, energy: Energy, *, same: bool) -> tuple[float, float]:
    """The joules of an energy that was counted now, the lower end of its interval first: on the target of the
    run beside the original as it was then, as seconds are; otherwise as counted.
    """
    then = point.latency.energy
    if not same or then is None:
        return energy.interval_j[0], energy.energy_j
    reference = then.energy_j / then.ratio
    return energy.ratio_interval[0] * reference, energy.ratio * reference


def _breaks(point: PointOn, file: FileNow, original: float | None, *, same: bool) -> tuple[str, ...]:
    """The limits that the point kept, and breaks now."""
    drop, latency = _drop_now(point, file, original), file.latency or point.latency
    if drop is None:
        drop = point.drop
        if file.quality is not None:
            drop += point.view.task.metric.drop(file.quality, baseline=point.quality.validation)
    latency_s = _comparable_s(point, latency, latency.ratio, same=same)
    energy = None if latency.energy is None else _comparable_j(point, latency.energy, same=same)[1]
    excess = point.view.limits.excess(
        drop=drop, latency_s=latency_s, size_bytes=point.size_bytes, energy_j=energy
    )
    return tuple(name for name, value in excess.items() if value > 0 and name not in point.violations)


def regressions(
    point: PointOn, file: FileNow, *, original: float | None = None, same: bool
) -> tuple[str, ...]:
    """What is worse than the run states, in words; see the top of this file."""
    if file.latency is None:
        return (f"cannot be measured, {file.failure}",)
    worse, interval = [], file.latency.ratio_interval
    earlier, limit_s = ratio_interval_of(point.latency), point.view.limits.latency_s
    low_s = _comparable_s(point, file.latency, interval[0], same=same)
    if same and earlier is not None and slower(interval, earlier):
        worse.append("slower than was measured")
    if limit_s is not None and point.latency.seconds <= limit_s < low_s:
        worse.append("breaks the latency limit")
    if _uses_more(point, file.latency, same=same):
        worse.append("breaks the energy limit")
    if _loses(point, file, original):
        worse.append("loses quality")
    return tuple(worse)


def _uses_more(point: PointOn, now: Latency, *, same: bool) -> bool:
    """Whether it kept the limit of energy then, and is shown to break it now. False where no sensor counts
    now: `Run.feasible` names no point that was not counted.
    """
    limit_j, then = point.view.limits.energy_j, point.latency.energy
    if limit_j is None or then is None or now.energy is None:
        return False
    return then.energy_j <= limit_j < _comparable_j(point, now.energy, same=same)[0]


def _loses(point: PointOn, file: FileNow, original: float | None) -> bool:
    drop, stated = _drop_now(point, file, original), point.drop_interval
    if drop is not None and stated is not None:
        return drop > stated[1]
    return file.quality is not None and quality_fell(point.quality, file.quality, point.view.task.metric)


def quality_fell(stated: Quality, value: float, metric: MetricFacts) -> bool:
    """Whether a metric is worse than the interval that was stated, or than QUALITY_ROOM of the value without
    one.
    """
    room = QUALITY_ROOM * abs(stated.validation)
    low, high = stated.interval or (stated.validation - room, stated.validation + room)
    return value > high if metric.direction == "lower" else value < low
