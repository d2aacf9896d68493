"""How far the search's own predictions could be trusted: latencies from its table, and a rung's ranking of
the next one's.
"""

from typing import Any

from ..formats import Run


def predicted_latency(run: Run) -> dict[str, Any] | None:
    """`run["latency_table"]` (kendall_tau, median_error, count) with a sentence; None without it."""
    table = run.get("latency_table")
    if not table or not table.get("count"):
        return None
    parts = []
    if table.get("median_error") is not None:
        parts.append(f"were off by {100 * table['median_error']:.1f} % (median)")
    if table.get("kendall_tau") is not None:
        parts.append(f"ordered them with Kendall's τ = {table['kendall_tau']:.2f}")
    if not parts:
        return None
    text = f"Latencies predicted from the table {' and '.join(parts)}, over {_candidates(table['count'])} that were measured."
    return {**table, "text": text}


def rung_correlations(run: Run) -> list[dict[str, Any]]:
    """From `run["rungs"]`, for each pair of rungs the rank correlation and a sentence, the cheapest rung
    first.
    """
    rungs = run.get("rungs") or {}
    found = []
    for pair, value in sorted((rungs.get("correlation") or {}).items()):
        if value is None:
            continue
        low, _, high = pair.partition("-")
        count = (rungs.get(high) or {}).get("count")
        longer = (
            (rungs.get("r3") or {}).get("count") if high == "r2" else 0
        )  # they are compared with r1 together
        text = f"Rung {low} ranks as rung {high} does with a correlation of {value:.2f}"
        where = f"{high} and r3" if longer else high
        count = (count or 0) + (longer or 0)
        text += f" ({_candidates(count)} in {where})." if count else "."
        found.append({"rungs": [low, high], "correlation": value, "text": text})
    return found


def _candidates(count: int) -> str:
    return "1 candidate" if count == 1 else f"{count} candidates"
