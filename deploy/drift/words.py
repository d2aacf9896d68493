"""Drift in sentences: what was read, what moved, which claims hold."""

from collections.abc import Iterator
from datetime import UTC, datetime

from ...profiles.units import format_latency
from .judge import BEYOND, KS, PSI, ROOM, Comparison, Drift, LatencyInUse

MOST_NAMED = 10  # channels


def drift_lines(drift: Drift) -> list[str]:
    """The lines for a person; the verdict is the last one."""
    return [*read_lines(drift), *latency_lines(drift.latency), *_distributions(drift), verdict(drift)]


def verdict(drift: Drift) -> str:
    """Which claims hold, in a sentence: the event of a nightly run."""
    unchecked = [] if drift.latency and not drift.latency.not_compared else ["latency"]
    unchecked += [drift.manifest.task.metric.name] if drift.not_compared else []
    rest = f" Not compared: {', '.join(unchecked)}." if unchecked else ""
    if drift.broken:
        return f"What {drift.manifest.name} claims no longer holds: {', '.join(drift.broken)}.{rest}"
    if len(unchecked) == 2:
        return f"Nothing that {drift.manifest.name} claims was compared."
    return f"What {drift.manifest.name} claims still holds.{rest}"


def read_lines(drift: Drift) -> Iterator[str]:
    """Which logs were read, and of what."""
    seen, manifest = drift.observed, drift.manifest
    yield (
        f"{manifest.name}: {_many(seen.calls, 'inference')} from {_time(seen.start_s)} to "
        f"{_time(seen.end_s)}, {seen.looks:,} looked at ({_many(seen.logs, 'log')}, "
        f"{_many(seen.lines, 'line')})"
    )
    if seen.other_logs:
        yield f"           {_many(seen.other_logs, 'log')} of other models left out"
    if seen.since_s is not None:
        yield f"           since {_time(seen.since_s)}; {_many(seen.earlier, 'earlier line')} left out"
    if seen.torn:
        yield f"           {_many(seen.torn, 'line')} cut off and left out"
    environment = manifest.target.environment
    if environment and seen.runtime_versions - {environment.runtime_version, "unknown"}:
        used = ", ".join(sorted(seen.runtime_versions))
        yield f"runtime    {manifest.target.runtime} {used}, the claims are of {environment.runtime_version}"


def latency_lines(latency: LatencyInUse | None) -> Iterator[str]:
    """The percentiles in use, beside the claim and the limit."""
    if latency is None:
        yield "latency    no inference of the claimed batch size was timed"
        return
    p50, p90, p99, longest = map(format_latency, (latency.p50_s, latency.p90_s, latency.p99_s, latency.max_s))
    yield f"latency    p50 {p50}, p90 {p90}, p99 {p99}, longest {longest}"
    if latency.not_compared:
        yield f"           not compared with the claim: {latency.not_compared}"
    elif latency.claimed_p50_s is not None:
        ratio = latency.p50_s / latency.claimed_p50_s
        word = "slower than claimed" if latency.slower else "as claimed"
        yield (
            f"           {word}: {ratio:.2f} × the claimed p50 of {format_latency(latency.claimed_p50_s)} "
            f"({1 + ROOM:g} × is allowed)"
        )
    if latency.limit_s is not None:
        word = "above" if latency.over_limit else "within"
        yield f"           p99 is {word} the limit of {format_latency(latency.limit_s)}"


def _distributions(drift: Drift) -> Iterator[str]:
    if drift.not_compared:
        yield f"inputs     not compared, nor are the answers: {drift.not_compared}"
        return
    for kind, label in (("input", "inputs"), ("output", "answers"), ("class", "classes")):
        compared = [one for one in drift.comparisons if one.kind == kind]
        moved = [one for one in compared if one.moved or one.exceeds]
        if not compared:
            continue
        if not moved:
            yield (
                f"{label:10} as in calibration: PSI up to {max(one.psi for one in compared):.2g}, "
                f"KS up to {max(one.ks for one in compared):.2g} (moved from {PSI:g} and {KS:g})"
            )
        for one in moved[:MOST_NAMED]:
            yield f"{label:10} {_moved(one)}"
        if len(moved) > MOST_NAMED:
            yield f"           and {len(moved) - MOST_NAMED} more"


def _moved(one: Comparison) -> str:
    texts = []
    if one.moved:
        distance = "share in other classes" if one.kind == "class" else "KS"
        texts.append(f"moved: PSI {one.psi:.2g} (from {PSI:g}), {distance} {one.ks:.2g} (from {KS:g})")
    if one.exceeds and one.beyond is not None:
        texts.append(
            f"{one.beyond:.1%} of the values are beyond what calibration saw (more than {BEYOND:.0%})"
        )
    return f"{name_of(one)} {'; '.join(texts)}"


def name_of(one: Comparison) -> str:
    """`x, channel 1`; of a tensor with one channel its name alone."""
    return one.name if one.channel is None else f"{one.name}, channel {one.channel}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"
