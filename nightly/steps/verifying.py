"""The deployed bundle on each target tonight, against what it was: answers, latency, quality."""

from collections.abc import Sequence
from dataclasses import replace

from ...profiles.environment import Environment
from ...results.records.facts import environment_from
from ...results.records.reading import Fields, Unfit
from ..config import Tolerance
from ..judge import REFERENCE_NIGHTS, beyond, quotient, together
from ..records.night import Night
from ..records.seen import Check
from ..telling import percent


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


def judged(check: Check, tolerance: Tolerance, *, higher_is_better: bool = True, unit: float = 1.0) -> Check:
    """The check with what is worse in words. `unit` is what a tolerance of the whole quality stands for in
    the metric's unit: 1 of a fraction.
    """
    worse = []
    if check.failure is not None:
        return replace(check, regressed=(f"it cannot be run: {check.failure}",))
    if (check.parity_error or 0.0) > (check.parity_tolerance or 0.0):
        worse.append(
            f"its answers differ from ONNX Runtime's here by {check.parity_error:.2g}, "
            f"where {check.parity_tolerance:.2g} is tolerated"
        )
    worse += _slower(check, tolerance)
    if check.quality is not None and check.stated_quality is not None:
        lost = check.stated_quality - check.quality
        lost = lost if higher_is_better else -lost
        if lost > tolerance.quality * unit:
            worse.append(
                f"it lost {_lost_text(lost, unit)}: its quality on validation was "
                f"{check.stated_quality:.4g} and is {check.quality:.4g}"
            )
    return replace(check, regressed=tuple(worse))


def _lost_text(lost: float, unit: float) -> str:
    """`0.50 pp`; of a metric that is no fraction a share of the whole: `0.50 %`."""
    return f"{100 * lost / unit:.2f} {'pp' if unit == 1.0 else '%'}"


def _slower(check: Check, tolerance: Tolerance) -> list[str]:
    numbers = (check.ratio, check.ratio_interval, check.stated_ratio, check.stated_interval)
    ratio, interval, stated, stated_interval = numbers
    if ratio is None or interval is None or stated is None or stated_interval is None:
        return []
    change = quotient(ratio, interval, stated, stated_interval)
    if not beyond(change, tolerance.latency):
        return []
    return [f"it is slower by {100 * (ratio / stated - 1):.1f} % ({percent(change)}) beside its reference"]


def read_check(printed: dict[str, object], *, target: str, version: str) -> Check:
    """The same as `check_of`; a check with a failure where the command printed something else."""
    try:
        return check_of(printed, target=target, version=version)
    except Unfit as error:
        return Check(target=target, version=version, failure=f"verify printed what does not fit: {error}")
