"""How far the search's own predictions could be trusted: latencies from its table, and a rung's ranking of
the next one's.
"""

from dataclasses import dataclass

from ..records.progress import Rungs
from ..view import RunOn


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedLatencies:
    """How well a latency table predicted `count` candidates, and a sentence."""

    kendall_tau: float | None
    median_error: float | None
    count: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RungCorrelation:
    """The rank correlation of two rungs, the cheaper one first, and a sentence."""

    rungs: tuple[str, str]
    correlation: float
    text: str


def predicted_latency(run: RunOn) -> PredictedLatencies | None:
    """How well the target's latency table predicted; None without one."""
    table = run.run.search.latency_tables.get(run.target.name)
    if table is None or not table.count:
        return None
    parts = []
    if table.median_error is not None:
        parts.append(f"were off by {100 * table.median_error:.1f} % (median)")
    if table.kendall_tau is not None:
        parts.append(f"ordered them with Kendall's τ = {table.kendall_tau:.2f}")
    if not parts:
        return None
    text = (
        f"Latencies predicted from the table {' and '.join(parts)}, "
        f"over {_candidates(table.count)} that were measured."
    )
    return PredictedLatencies(
        kendall_tau=table.kendall_tau, median_error=table.median_error, count=table.count, text=text
    )


def rung_correlations(run: RunOn) -> tuple[RungCorrelation, ...]:
    """For each pair of rungs the rank correlation and a sentence, the cheapest rung first."""
    rungs = run.run.search.rungs
    if rungs is None:
        return ()
    pairs = sorted(rungs.correlation.items())
    return tuple(_correlation(rungs, pair, value) for pair, value in pairs if value is not None)


def _correlation(rungs: Rungs, pair: str, value: float) -> RungCorrelation:
    low, _, high = pair.partition("-")
    longer = rungs.counts.get("r3", 0) if high == "r2" else 0  # they are compared with r1 together
    count = rungs.counts.get(high, 0) + longer
    text = f"Rung {low} ranks as rung {high} does with a correlation of {value:.2f}"
    where = f"{high} and r3" if longer else high
    text += f" ({_candidates(count)} in {where})." if count else "."
    return RungCorrelation(rungs=(low, high), correlation=value, text=text)


def _candidates(count: int) -> str:
    return "1 candidate" if count == 1 else f"{count} candidates"
