"""All answers together: what `front --json` prints as `why`, and the lines below the table of a terminal."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..view import RunOn
from .indistinguishable import Group, indistinguishable_groups
from .layers import SensitiveLayers, sensitive_layers
from .limits import Binding, MissReason, binding_constraint, miss_reasons
from .spent import TimeSpent, time_of
from .trust import PredictedLatencies, RungCorrelation, predicted_latency, rung_correlations

SHOWN_GROUPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Every answer; None or empty where the run does not have what it needs."""

    binding: Binding | None
    misses: tuple[MissReason, ...]
    sensitive: SensitiveLayers | None
    indistinguishable: tuple[Group, ...]
    time: TimeSpent | None
    predicted_latency: PredictedLatencies | None
    rungs: tuple[RungCorrelation, ...]

    @classmethod
    def of(cls, run: RunOn) -> "Why":
        """The answers of a run on one target."""
        return cls(
            binding=binding_constraint(run),
            misses=miss_reasons(run),
            sensitive=sensitive_layers(run),
            indistinguishable=indistinguishable_groups(run),
            time=time_of(run),
            predicted_latency=predicted_latency(run),
            rungs=rung_correlations(run),
        )


def why_json(run: RunOn) -> dict[str, Any]:
    """The answers as a JSON value for scripts."""
    return asdict(Why.of(run))


def why_lines(run: RunOn) -> list[str]:
    """At most four lines for a terminal: what binds, what is sensitive, what cannot be told apart, where the
    time went.
    """
    binding, sensitive, spent = binding_constraint(run), sensitive_layers(run), time_of(run)
    lines = [answer.text for answer in (binding, sensitive) if answer]
    if alike := _alike(indistinguishable_groups(run)):
        lines.append(alike)
    return lines + ([spent.text] if spent else [])


def _alike(groups: Sequence[Group]) -> str:
    """The largest groups in full, the others counted."""
    shown = sorted(groups, key=lambda group: -len(group.trials))[:SHOWN_GROUPS]
    rest = len(groups) - len(shown)
    more = f" {rest} more such group{'s' if rest > 1 else ''}." if rest else ""
    return " ".join(group.text for group in shown) + more
