"""What `verify` found, for a person: plain lines, predicted numbers with `~`."""

from collections.abc import Mapping
from typing import Any

from ..profiles.units import format_latency
from .formats import ratio_text, relative_spread

Found = Mapping[str, Any]
SCHEMA_VERSION = 2  # of verify.json
COLUMNS = ("point", "earlier", "measured", "error", "×", "quality", "remarks")


def results_of(found: Found) -> list[Found]:
    """What verify.json says of each target; of schema version 1, which knew one, the only one; nothing of a
    newer version.
    """
    if found["schema_version"] > SCHEMA_VERSION:
        return []
    return list(found["targets"]) if "targets" in found else [found]


def run_lines(found: Found) -> list[str]:
    """For each target the table of its points, the errors, and what regressed; then which targets were away."""
    results, away = results_of(found), away_lines(found)
    lines: list[str] = []
    for result in results:
        rows = [columns(row) for row in result["points"]]
        widths = [max(len(line[index]) for line in (COLUMNS, *rows)) for index in range(len(COLUMNS))]
        lines += [""] if lines else []
        lines += [f"on {result['target']['name']}"] if len(results) > 1 or away else []
        lines += [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in (COLUMNS, *rows)
        ]
        lines += ["", *summary(result)]
    return [*lines, *([""] if away else []), *away]


def away_lines(found: Found) -> list[str]:
    """One sentence for each target that could not be used, or one that verify.json is of a newer version."""
    if found["schema_version"] > SCHEMA_VERSION:
        return [
            f"What `verify` found is of schema version {found['schema_version']}: it is shown by the version that wrote it."
        ]
    return [
        f"Not verified on {item['name']}, the same command goes on with it: {item['reason']}"
        for item in found.get("away", ())
    ]


def columns(row: Found) -> tuple[str, ...]:
    """The cells of a point: label, earlier latency, measured one, error, ratio, metric, remarks."""
    mark, latency, quality = "~" if row["predicted"] else "", row["latency"], row["quality"]
    earlier = f"{mark}{format_latency(row['earlier_s'])}"
    remarks = "; ".join([*row["regressed"], *(f"{name} limit broken" for name in row["breaks"])])
    if latency is None:
        return row["label"], earlier, "–", "–", "–", "–", remarks
    now = (
        f"{format_latency(latency['latency_s'])} {relative_spread(latency['interval_s'])}"
        + " noisy" * latency["noisy"]
    )
    ratio = f"{mark}{ratio_text(row['earlier_ratio'])} → {ratio_text(latency['ratio'])}"
    metric = "–" if quality["now"] is None else f"{quality['earlier']:.4g} → {quality['now']:.4g}"
    return row["label"], earlier, now, f"{100 * row['error']:+.1f} %", ratio, metric, remarks


def summary(found: Found) -> list[str]:
    """Error, rank correlation, and what regressed."""
    predicted, name = found["earlier"]["predicted"], found["target"]["name"]
    kind = "Predictions" if predicted else f"Latencies measured before on {found['earlier']['target']}"
    lines = []
    if predicted:
        lines.append(f"Predicted from the {predicted['source']}.")
    if found["median_error"] is not None:
        tau = (
            ""
            if found["kendall_tau"] is None
            else f", and ordered the points with Kendall's τ = {found['kendall_tau']:.2f}"
        )
        lines.append(
            f"{kind} were off by {100 * found['median_error']:.1f} % (median) and {100 * found['p90_error']:.1f} % (90 % of the "
            f"points) of what {name} measures now{tau}."
        )
    broken = [f"{row['label']} ({' and '.join(row['breaks'])})" for row in found["points"] if row["breaks"]]
    lines.append(
        f"Limits that break now: {', '.join(broken)}." if broken else "No limit that held breaks now."
    )
    worse = [row["label"] for row in found["points"] if row["regressed"]]
    return lines + ([f"Regressed: {', '.join(worse)}."] if worse else ["Nothing regressed."])


def bundle_lines(found: Found) -> list[str]:
    """What was found of a bundle."""
    lines = [f"{found['bundle']} on {found['target']['name']}", f"checksums  {found['checksums']}"]
    if "parity" in found:
        parity, stated, now, quality = (
            found["parity"],
            found["latency"]["stated"],
            found["latency"]["now"],
            found["quality"],
        )
        earlier = f"~{format_latency(stated['predicted_s'])}" if "predicted_s" in stated else _stated(stated)
        lines += [
            f"answers    differ by {parity['error']:.2g} of their size from ONNX Runtime's here, {parity['tolerance']:g} allowed",
            f"latency    {format_latency(now['latency_s'])} {relative_spread(now['interval_s'])}, the manifest says {earlier}",
            f"{quality['metric']}  {quality['now']:.4g}, the manifest says {quality['stated']:.4g}"
            if quality["now"] is not None
            else f"{quality['metric']}  not verified",
        ]
    return [
        *lines,
        f"Regressed: {', '.join(found['regressed'])}." if found["regressed"] else "Nothing regressed.",
    ]


def _stated(latency: Found) -> str:
    return f"{format_latency(latency['latency_s'])} {relative_spread(latency['interval_s'])}"
