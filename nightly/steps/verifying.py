"""The deployed bundle on each target tonight, against what it was: answers, latency, quality."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from ...profiles.environment import Environment
from ...profiles.measurement import critical_value
from ...results.compare.change import change_of_ratios, change_on_same_samples
from ...results.compare.tolerance import Tolerance
from ...results.records.facts import MetricFacts, environment_from
from ...results.records.reading import Fields, Interval, Unfit
from ..records.night import Night
from ..records.seen import Check
from ..telling import percent

REFERENCE_NIGHTS = 5  # the first ones after a deployment, whose mean the later ones are compared with


def check_of(text: dict[str, object], *, target: str, version: str) -> Check:
    """What `verify BUNDLE --json` printed, as a record without a judgement."""
    value = Fields(text)
    if not value.has("environment"):
        reasons = ", ".join(value.texts("regressed")) or "nothing could be measured"
        return Check(target=target, version=version, failure=reasons)
    latency, quality, parity = (value.object(name) for name in ("latency", "quality", "parity"))
    now = latency.object("now")
    stated = None if value.value("not_compared") is not None else _stated(value)
    return Check(
        target=target,
        version=version,
        environment=environment_from(value.object("environment")),
        parity_error=parity.amount("error"),
        parity_tolerance=parity.positive("tolerance"),
        latency_s=now.positive("latency_s"),
        ratio=now.positive("ratio"),
        ratio_interval=now.interval("ratio_interval"),
        stated_ratio=None if stated is None else stated.positive("ratio"),
        stated_interval=None if stated is None else stated.interval("ratio_interval"),
        not_compared=value.maybe("not_compared", value.text),
        quality=quality.maybe("now", quality.number),
        stated_quality=quality.number("stated"),
        quality_not_verified=value.maybe("quality_not_verified", value.text),
        task_differs=value.maybe("task_differs", value.text),
    )


def _stated(value: Fields) -> Fields | None:
    """What the bundle says of its reference; None where that is a sentence why it has none."""
    reference = value.value("reference")
    return value.object("reference") if isinstance(reference, dict) and "ratio" in reference else None


def with_reference(check: Check, nights: Sequence[Night], model: str) -> Check:
    """The check with the ratio that it is compared with. It is what the first nights after the deployment
    measured in the same environment, whose selection is not in it as in the ratio that the bundle was picked
    for; that of the bundle before there are any.
    """
    if check.stated_ratio is None or check.environment is None:
        return check
    earlier = [one for night in nights for one in _checks(night, model) if _alike(one, check)]
    usable = [(one.ratio, one.ratio_interval) for one in earlier[:REFERENCE_NIGHTS]]
    pairs = [(ratio, interval) for ratio, interval in usable if ratio is not None and interval is not None]
    if not pairs:
        return check
    ratio, interval = together([ratio for ratio, _ in pairs], [interval for _, interval in pairs])
    return replace(check, stated_ratio=ratio, stated_interval=interval)


def _checks(night: Night, model: str) -> tuple[Check, ...]:
    there = night.model(model)
    return () if there is None else there.checks


def _alike(earlier: Check, check: Check) -> bool:
    """Whether an earlier check is of the same bundle in the same environment, and found nothing wrong."""
    same = earlier.target == check.target and earlier.version == check.version and not earlier.regressed
    return same and _fingerprint(earlier.environment) == _fingerprint(check.environment)


def _fingerprint(environment: Environment | None) -> str:
    return "" if environment is None else environment.fingerprint


def together(values: Sequence[float], intervals: Sequence[Interval]) -> tuple[float, Interval]:
    """The mean of what several nights measured of the same, and its interval: that of their own spread, where
    that is wider than what each of them says.
    """
    mean, count = statistics.fmean(values), len(values)
    halves = [(high - low) / 2 / value for value, (low, high) in zip(values, intervals, strict=True)]
    inside, between = math.hypot(*halves) / count, 0.0
    if count > 2:
        between = critical_value(count - 1) * statistics.stdev(values) / math.sqrt(count) / mean
    spread = max(inside, between)
    return mean, (mean * (1 - spread), mean * (1 + spread))


def judged(check: Check, tolerance: Tolerance, metric: MetricFacts, original: float) -> Check:
    """The check with what is worse in words. `original` is the value of the metric that the original has."""
    worse = []
    if check.failure is not None:
        return replace(check, regressed=(f"it cannot be run: {check.failure}",))
    if (check.parity_error or 0.0) > (check.parity_tolerance or 0.0):
        worse.append(
            f"its answers differ from ONNX Runtime's here by {check.parity_error:.2g}, "
            f"where {check.parity_tolerance:.2g} is tolerated"
        )
    worse += _slower(check, tolerance)
    worse += _less_accurate(check, tolerance, metric, original)
    return replace(check, regressed=tuple(worse))


def _less_accurate(check: Check, tolerance: Tolerance, metric: MetricFacts, original: float) -> list[str]:
    now, stated = check.quality, check.stated_quality
    if now is None or stated is None:
        return []
    lost = metric.drop(now, baseline=stated)
    if change_on_same_samples(0.0, lost, tolerance.of("drop", metric, original)).verdict != "worse":
        return []
    text = f"{100 * lost:.2f} pp" if metric.unit == "fraction" else f"{lost:.4g}"
    return [f"it lost {text}: its quality on validation was {stated:.4g} and is {now:.4g}"]


def _slower(check: Check, tolerance: Tolerance) -> list[str]:
    numbers = (check.ratio, check.ratio_interval, check.stated_ratio, check.stated_interval)
    ratio, interval, stated, stated_interval = numbers
    if ratio is None or interval is None or stated is None or stated_interval is None:
        return []
    change = change_of_ratios((stated, stated_interval), (ratio, interval), tolerance.latency)
    if change.verdict != "worse" or change.interval is None:
        return []
    return [f"it is slower by {100 * change.change:.1f} % ({percent(change.interval)}) beside its reference"]


def read_check(printed: dict[str, object], *, target: str, version: str) -> Check:
    """The same as `check_of`; a check with a failure where the command printed something else."""
    try:
        return check_of(printed, target=target, version=version)
    except Unfit as error:
        return Check(target=target, version=version, failure=f"verify printed what does not fit: {error}")
