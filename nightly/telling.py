"""The sentences of events: what got worse, by how much, and why that is likely."""

from collections.abc import Sequence

from ..results.records.facts import MetricFacts
from ..results.records.reading import Interval
from .records.model_night import PolicyChange
from .records.seen import EnvironmentChange, InTurns

# What explains a difference best, first: the rest of the environment changes more often without an effect.
_TELLING = ("original", "data", "metric", "task", "option")  # kinds
_THEN = ("runtime version", "runtime", "device")  # what


def cause_of(changes: Sequence[EnvironmentChange], target: str) -> str | None:
    """The likely cause of a difference on a target: what is another there, or in the task, the most telling
    first. None when nothing is known to have changed.
    """
    there = [change for change in changes if change.target in ("", target)]
    there.sort(key=_rank)
    return ", ".join(map(str, there)) or None


def _rank(change: EnvironmentChange) -> int:
    if change.kind in _TELLING:
        return _TELLING.index(change.kind)
    place = _THEN.index(change.what) if change.what in _THEN else len(_THEN)
    return len(_TELLING) + place


def percent(interval: Interval) -> str:
    """The interval of a relative change as `+4.1 to +5.9 %`."""
    low, high = (f"{100 * end:+.1f}" for end in interval)
    return f"{low} to {high} %"


def quality_words(value: float, metric: MetricFacts | None) -> str:
    """`98.61 %` of a fraction, else four digits in the metric's unit."""
    fraction = metric is not None and metric.unit == "fraction"
    return f"{100 * value:.2f} %" if fraction else f"{value:.4g}"


def drop_words(value: float, metric: MetricFacts | None) -> str:
    """`0.56 pp` of a fraction, else three digits in the metric's unit."""
    fraction = metric is not None and metric.unit == "fraction"
    return f"{100 * value:.2f} pp" if fraction else f"{value:.3g}"


def told_change(change: PolicyChange, metric: MetricFacts | None) -> str:
    """What a policy picks now instead of what it picked before."""
    if change.now is None or change.before is None:
        return (
            f"Nothing that was measured tonight meets the policy {change.policy!r}, as before something did."
        )
    if change.quantity == "drop":
        now, before = (drop_words(value, metric) for value in (change.now, change.before))
        numbers = f"a loss of {now} instead of {before}"
    else:
        of = {"latency": "time"}.get(change.quantity, change.quantity)
        numbers = f"{change.now:.3f} instead of {change.before:.3f} × the {of} of the original"
    again = f", measured beside each other {percent(change.again)}" if change.again else ""
    return f"{change.policy!r} picks a point with {numbers}{again}."


def told_turns(seen: InTurns) -> str:
    """What another version or setting of a runtime does to an artifact."""
    if seen.ratio is None or seen.ratio_interval is None:
        return f"{seen.package} {seen.new} and {seen.old} could not be compared: {seen.failure}"
    change = 100 * (seen.ratio - 1)
    words = f"{abs(change):.1f} % {'slower' if change > 0 else 'faster'}"
    return (
        f"The same artifact is {words} in {seen.package} {seen.new} than in {seen.old} "
        f"({percent((seen.ratio_interval[0] - 1, seen.ratio_interval[1] - 1))}, measured in turns)."
    )
