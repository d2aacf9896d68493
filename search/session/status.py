"""Words for the progress display: one line per trial, the front so far, the time left."""

from collections.abc import Mapping, Sequence

from ...profiles import format_duration
from ...results.evaluation import Evaluation, Failure, Predicted
from ...tasks.task import Metric
from ..evaluation.further import queued
from ..result import Result
from .progress import FrontRow, Status


def quality_text(metric: Metric, value: float) -> str:
    """`91.73 %` of a fraction, four significant digits otherwise."""
    return f"{100 * value:.2f} %" if metric.unit == "fraction" else f"{value:.4g}"


def drop_text(metric: Metric, value: float) -> str:
    """`0.42 pp` of a fraction, three significant digits otherwise."""
    return f"{100 * value:.2f} pp" if metric.unit == "fraction" else f"{value:.3g}"


def front_row(evaluation: Evaluation, result: Result) -> FrontRow:
    """A point of the front as text, ratios against the original."""
    _, size, latency = result.vector(evaluation)
    return FrontRow(
        trial=evaluation.trial,
        quality=quality_text(result.metric, evaluation.validation),
        drop=drop_text(result.metric, evaluation.drop),
        latency=f"{_mark(evaluation)}{latency:.3f}",
        size=f"{size:.3f}",
    )


def _mark(evaluation: Evaluation) -> str:
    """`~` when a latency of the candidate is predicted on any target, since the worst of them is shown."""
    latencies = [evaluation.latency, *(seen.latency for seen in evaluation.further.values())]
    return "~" if any(isinstance(latency, Predicted) for latency in latencies) else ""


def outcome_line(outcome: Evaluation | Failure, result: Result) -> str:
    """What came of a trial, in one line."""
    if isinstance(outcome, Failure):
        return f"trial {outcome.trial}: failed in {outcome.stage} ({outcome.kind}): {outcome.message}"
    row = front_row(outcome, result)
    name = {0: " (original)"}.get(outcome.trial, "")
    if outcome.recipe.digest == result.uniform_digest:
        name = " (uniform int8)"
    missed = [key for key, excess in result.excesses(outcome).items() if excess > 0]
    broken = f", exceeds {' and '.join(missed)}" if missed else ""
    missing = f", not measured on {' and '.join(outcome.missing)}" if outcome.missing else ""
    cost = format_duration(sum(outcome.seconds.values()))
    return (
        f"trial {row.trial}{name}: {result.metric.name} {row.quality} (drop {row.drop}), latency {row.latency}×, "
        f"size {row.size}×{broken}{missing}, took {cost}"
    )


def status_of(
    result: Result,
    *,
    failed: int,
    screened: int,
    elapsed_s: float,
    budget_s: float | None,
    trials: int | None,
    front: Sequence[Evaluation],
    time: Mapping[str, float],
) -> Status:
    """The search at this moment; without a budget the time left follows from the trials so far."""
    done = len(result.evaluations) + failed
    shares = [elapsed_s / budget_s] if budget_s else []
    shares += [done / trials] if trials else []
    share = min(1.0, max(shares)) if shares else None
    lefts = [budget_s - elapsed_s] if budget_s else []
    lefts += [elapsed_s / done * (trials - done)] if trials and done else []
    return Status(
        finished=len(result.evaluations),
        failed=failed,
        screened=screened,
        hypervolume=result.hypervolume(),
        elapsed_s=elapsed_s,
        share=share,
        left_s=max(0.0, min(lefts)) if lefts else None,
        front=[front_row(item, result) for item in front],
        time=time,
        queued=queued(result.evaluations),
    )
