"""All answers together: the `why` object of front.json, and the lines below the table of a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..formats import Run
from .indistinguishable import indistinguishable_groups
from .layers import sensitive_layers
from .limits import binding_constraint, miss_reasons
from .spent import time_of
from .trust import predicted_latency, rung_correlations

SHOWN_GROUPS = 2


def why_json(run: Run) -> dict[str, Any]:
    """The `why` object: plain JSON values, None or empty where the run does not hold what an answer needs."""
    return {
        "binding": binding_constraint(run),
        "misses": miss_reasons(run),
        "sensitive": sensitive_layers(run),
        "indistinguishable": indistinguishable_groups(run),
        "time": time_of(run),
        "predicted_latency": predicted_latency(run),
        "rungs": rung_correlations(run),
    }


def why_lines(run: Run) -> list[str]:
    """At most four lines for a terminal: what binds, what is sensitive, what cannot be told apart, where the
    time went.
    """
    binding, sensitive, spent = binding_constraint(run), sensitive_layers(run), time_of(run)
    lines = [answer["text"] for answer in (binding, sensitive) if answer]
    if alike := _alike(indistinguishable_groups(run)):
        lines.append(alike)
    return lines + ([spent["text"]] if spent else [])


def _alike(groups: Sequence[Mapping[str, Any]]) -> str:
    """The largest groups in full, the others counted."""
    shown = sorted(groups, key=lambda group: -len(group["trials"]))[:SHOWN_GROUPS]
    rest = len(groups) - len(shown)
    return " ".join(group["text"] for group in shown) + (
        f" {rest} more such group{'s' if rest > 1 else ''}." if rest else ""
    )
