"""Words for the progress display: one line per trial, the front so far, the time left."""

from collections.abc import Mapping

from ...profiles import format_duration
from ...results.placed import place_of
from ...results.records.facts import MetricFacts
from ...results.records.latency import Predicted
from ...results.records.point import Failure, Point
from ...results.records.progress import Stopped
from ...results.records.run import Run
from .progress import FrontRow, Status


def quality_text(metric: MetricFacts, value: float) -> str:
    """`91.73 %` of a fraction, four significant digits otherwise."""
    return f"{100 * value:.2f} %" if metric.unit == "fraction" else f"{value:.4g}"


def drop_text(metric: MetricFacts, value: float) -> str:
    """`0.42 pp` of a fraction, three significant digits otherwise."""
    return f"{100 * value:.2f} pp" if metric.unit == "fraction" else f"{value:.3g}"


def front_row(point: Point, run: Run) -> FrontRow:
    """A point as text, with ratios to the original; with several targets the worst numbers of all."""
    metric = run.facts.task.metric
    _, size, latency = run.vector(point)
    worst = max(run.measured(point).values(), key=lambda measured: measured.drop)
    return FrontRow(
        trial=point.trial,
        quality=quality_text(metric, worst.quality.validation),
        drop=drop_text(metric, worst.drop),
        latency=f"{_mark(point)}{latency:.3f}",
        size=f"{size:.3f}",
        numbers={
            "quality": worst.quality.validation,
            "drop": worst.drop,
            "latency_ratio": latency,
            "size_ratio": size,
        },
    )


def _mark(point: Point) -> str:
    """`~` when a latency of the point is predicted on any target, since the worst of them is shown."""
    latencies = [measured.latency for measured in point.measured.values()]
    return "~" if any(isinstance(latency, Predicted) for latency in latencies) else ""


def outcome_line(outcome: Point | Failure | Stopped, run: Run) -> str:
    """What came of a trial, in one line."""
    if isinstance(outcome, Stopped):
        return stopped_line(outcome, run)
    if isinstance(outcome, Failure):
        return f"trial {outcome.trial}: failed in {outcome.stage} ({outcome.kind}): {outcome.message}"
    row, name = front_row(outcome, run), ""
    if outcome.trial == 0:
        name = " (original)"
    elif outcome.trial == run.uniform_trial:
        name = " (uniform int8)"
    violations = run.violations(outcome)
    broken = f", exceeds {' and '.join(violations)}" if violations else ""
    where = f" on {place_of(run, outcome)}" if run.device is not None else ""
    missing = f", not measured on {' and '.join(outcome.missing)}" if outcome.missing else ""
    cost = format_duration(sum(outcome.seconds.values()))
    return (
        f"trial {row.trial}{name}: {run.facts.task.metric.name} {row.quality} (drop {row.drop}), "
        f"latency {row.latency}×{where}, size {row.size}×{broken}{missing}, took {cost}"
    )


def stopped_line(stopped: Stopped, run: Run) -> str:
    """Why a candidate was validated no further."""
    metric, low = run.facts.task.metric, stopped.drop_interval[0]
    by = f"trial {stopped.beaten_by}, which is no slower and no larger, loses less"
    if stopped.beaten_by is None:
        by = "that is above the limit"
    cost = format_duration(sum(stopped.seconds.values()))
    return (
        f"trial {stopped.trial}: stopped after {stopped.samples} of {stopped.of} samples, a drop of at least "
        f"{drop_text(metric, low)}: {by}; took {cost}"
    )


def races_sentence(run: Run) -> str:
    """What races saved."""
    count = len(run.stopped)
    candidates = "candidate was" if count == 1 else "candidates were"
    return (
        f"{count} {candidates} stopped in validation, since they could not join the front: "
        f"{run.saved_samples:.0%} of all samples were not run."
    )


def status_of(
    run: Run | None,
    *,
    elapsed_s: float,
    budget_s: float | None,
    trials: int | None,
    time: Mapping[str, float],
    trial: int | None = None,
) -> Status:
    """The search at this moment, `run` None before anything is measured; `trial` is the last that ended.
    Without a budget the time left follows from the trials so far.
    """
    done = len(run.points) + len(run.failures) + len(run.stopped) if run else 0
    shares = [elapsed_s / budget_s] if budget_s else []
    shares += [done / trials] if trials else []
    lefts = [budget_s - elapsed_s] if budget_s else []
    lefts += [elapsed_s / done * (trials - done)] if trials and done else []
    by_target: dict[str, float] = {}
    if run and len(run.target_names) > 1 and run.device is None:
        by_target = {name: run.only(name).hypervolume for name in run.target_names}
    return Status(
        finished=len(run.points) if run else 0,
        failed=len(run.failures) if run else 0,
        screened=run.screened if run else 0,
        hypervolume=run.hypervolume if run else 0.0,
        hypervolumes=by_target,
        elapsed_s=elapsed_s,
        share=min(1.0, max(shares)) if shares else None,
        left_s=max(0.0, min(lefts)) if lefts else None,
        front=[front_row(point, run) for point in run.front] if run else [],
        time=time,
        queued=run.waiting if run else {},
        trial=trial,
    )
