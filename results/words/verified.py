"""What `verify` measured, as plain lines for a person; predicted numbers have a `~`."""

from collections.abc import Sequence

from ...profiles.units import format_latency
from ..formats import ratio_text, relative_spread
from ..records.bundle_verification import BundleMeasured, BundleVerification
from ..records.latency import Latency, Predicted
from ..records.manifest import Manifest, ReferenceFacts
from ..records.verification import TargetVerification, Verification, VerifiedPoint

_TOLD = ("cpu_model", "device", "runtime_version", "threads", "governor", "power_mode")
COLUMNS = ("point", "earlier", "measured", "error", "×", "quality", "remarks")


def run_lines(verification: Verification) -> list[str]:
    """For each target the table of its points, the errors, and what regressed; then the targets that were
    away.
    """
    targets, away = verification.targets, away_lines(verification)
    lines = skipped_line(verification.skipped)
    for target in targets:
        rows = [COLUMNS, *(columns(point) for point in target.points)]
        widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
        lines += [""] if lines else []
        lines += [f"on {target.target}"] if len(targets) > 1 or away else []
        for row in rows:
            cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
        lines += ["", *summary(target)]
    return [*lines, *([""] if away else []), *away]


def away_lines(verification: Verification) -> list[str]:
    """One sentence for each target that could not be used, or one that verify.json is of a newer version."""
    if verification.unread_version is not None:
        return [
            f"What `verify` found is of schema version {verification.unread_version}: it is shown by the "
            "version that wrote it."
        ]
    lines = []
    for target in verification.away:
        again = ", the same command goes on with it" if target.address else ""
        lines.append(f"Not verified on {target.name}{again}: {target.reason}")
    return lines


def columns(point: VerifiedPoint) -> tuple[str, ...]:
    """The cells of a point: label, earlier latency, measured one, error, ratio, metric, remarks."""
    mark, latency = "~" if point.predicted else "", point.latency
    earlier = f"{mark}{format_latency(point.earlier_s)}"
    remarks = "; ".join([*point.regressed, *(f"{name} limit broken" for name in point.breaks)])
    if latency is None or point.error is None:
        return point.label, earlier, "–", "–", "–", "–", remarks
    now = f"{format_latency(latency.latency_s)}{' noisy' if latency.noisy else ''}"
    spread = relative_spread(latency.ratio_interval)
    ratio = f"{mark}{ratio_text(point.earlier_ratio)} → {ratio_text(latency.ratio)} {spread}"
    metric = "–" if point.quality is None else f"{point.earlier_quality:.4g} → {point.quality:.4g}"
    return point.label, earlier, now, f"{100 * point.error:+.1f} %", ratio, metric, remarks


def summary(target: TargetVerification) -> list[str]:
    """Error, rank correlation, and what regressed."""
    lines, error = [], target.prediction_error
    kind = f"Ratios to the original, measured before on {target.earlier_target},"
    if target.prediction:
        kind = "Predictions"
        lines.append(f"Predicted from the {target.prediction.source}.")
    if error.median is not None and error.p90 is not None:
        tau = error.kendall_tau
        order = "" if tau is None else f", and ordered the points with Kendall's τ = {tau:.2f}"
        lines.append(
            f"{kind} were off by {100 * error.median:.1f} % (median) and {100 * error.p90:.1f} % (90 % of "
            f"the points) of what {target.target} measures now{order}."
        )
    broken = [f"{point.label} ({' and '.join(point.breaks)})" for point in target.points if point.breaks]
    lines.append(
        f"Limits that break now: {', '.join(broken)}." if broken else "No limit that held breaks now."
    )
    if target.quality_not_verified:
        lines.append(f"Quality was not looked at. {target.quality_not_verified}")
    lines += _differs(target.task_differs)
    return [*lines, _regressed([point.label for point in target.points if point.regressed], target.skipped)]


def _differs(differs: str | None) -> list[str]:
    """That the metric is of another task, where it is."""
    return [f"The metric is not of the task of the search: it has {differs}."] if differs else []


def skipped_line(skipped: Sequence[str]) -> list[str]:
    """What was not checked, to stand above everything else; the reasons stand where the numbers would."""
    return [f"Not checked: {', '.join(skipped)}."] if skipped else []


def _regressed(names: Sequence[str], skipped: Sequence[str]) -> str:
    if names:
        return f"Regressed: {', '.join(names)}."
    if skipped:
        return f"Nothing that was checked regressed. Not checked: {', '.join(skipped)}."
    return "Nothing regressed."


def bundle_lines(verification: BundleVerification) -> list[str]:
    """What was measured of a bundle."""
    lines = skipped_line(verification.skipped)
    lines += [f"{verification.manifest.name} on {verification.target}", "checksums  ok"]
    if verification.measured:
        lines += _machine(verification.manifest, verification.measured)
        lines += _measured_lines(verification, verification.measured)
    return [*lines, _regressed(verification.regressed, verification.skipped)]


def _machine(manifest: Manifest, now: BundleMeasured) -> list[str]:
    """What differs from the machine that the manifest tells of."""
    stated = manifest.target.environment
    changed = stated.differences(now.environment) if stated and isinstance(manifest.latency, Latency) else {}
    named = [f"{name} was {changed[name][0]}, is {changed[name][1]}" for name in _TOLD if name in changed]
    return [f"machine    {'; '.join(named)}"] if named else []


def _measured_lines(verification: BundleVerification, now: BundleMeasured) -> list[str]:
    manifest, parity = verification.manifest, now.parity
    name = manifest.task.metric.name
    quality = f"{name}  not looked at. {now.quality_not_verified}"
    if now.quality is not None:
        quality = f"{name}  {now.quality:.4g}, the manifest says {manifest.quality.validation:.4g}"
    return [
        f"answers    differ by {parity.error:.2g} of their size from {manifest.answering}'s here, "
        f"{parity.tolerance:g} allowed",
        *_latency_lines(manifest, now),
        quality,
        *_differs(now.task_differs),
    ]


def _latency_lines(manifest: Manifest, now: BundleMeasured) -> list[str]:
    """The ratio to the reference then and now, or why it is not compared; seconds with the drift."""
    stated, latency, reference = manifest.latency, now.latency, manifest.reference
    seconds, drift = format_latency(latency.latency_s), " to ".join(map(format_latency, now.drift_s))
    mark = "~" if isinstance(stated, Predicted) else ""
    then = f"the manifest says {mark}{format_latency(stated.seconds)}"
    if isinstance(reference, str) or now.not_compared is not None:
        why = now.not_compared or reference
        return [
            f"latency    {seconds} ({drift} while measuring), {then}. These are times of two hours, and are "
            f"not compared: {why}."
        ]
    beside = "the original" if reference.kind == "original" else "the reference workload"
    noisy = " noisy" if latency.noisy else ""
    lines = [f"latency    {_ratio(latency)}{noisy} of {beside}, the manifest says {_ratio(reference)}"]
    then_s = manifest.original.latency_s
    if reference.kind == "original":
        now_s = latency.latency_s / latency.ratio
        then += (
            f"; the original took {format_latency(now_s)} and {format_latency(then_s)}: the machine's drift"
        )
    return [*lines, f"           {seconds} now ({drift} while measuring), {then}"]


def _ratio(measured: Latency | ReferenceFacts) -> str:
    """`0.531× ±0.9 %`."""
    return f"{measured.ratio:.3f}× {relative_spread(measured.ratio_interval)}"
