"""The front for a terminal, a spreadsheet and a program."""

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from .formats import (
    Formats,
    Point,
    Run,
    bits_text,
    interval_of,
    is_predicted,
    label_of,
    mean_bits,
    notes_of,
    prediction_note,
    ratio_of,
    ratio_text,
    same_text,
    seconds_of,
    size_ratio,
    speed_text,
    spread_of,
)
from .pick import measured_points, recommended
from .why import why_json

if TYPE_CHECKING:
    from rich.table import Table

RECORD_FIELDS = (
    *(
        "trial",
        "label",
        "on_front",
        "chosen",
        "quality",
        "quality_low",
        "quality_high",
        "test_quality",
        "drop",
    ),
    *(
        "latency_s",
        "latency_low_s",
        "latency_high_s",
        "latency_ratio",
        "p99_s",
        "noisy",
        "size_bytes",
        "size_ratio",
    ),
    *("predicted_latency_s", "predicted_latency_ratio", "prediction_source"),
    *(
        "macs",
        "parameters",
        "peak_memory_bytes",
        "indistinguishable_from",
        "mean_bits",
        "recovery_steps",
        "warnings",
        "file",
    ),
)


def front_table(run: Run) -> "Table":
    """A rich table of the front, the original and uniform int8, the fastest first; `★` is the point to look
    at.
    """
    from rich.markup import escape
    from rich.table import Table

    formats = Formats.of(run)
    chosen, reason = recommended(run)
    caption = (
        f"★ {reason}. ≈ intervals overlap, cannot be told apart. ± 95 %; drop and × against the original."
    )
    note = prediction_note(run)
    table = Table(
        caption=escape(f"{caption}\n{note}" if note else caption),
        caption_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    table.add_column("trial", no_wrap=True)
    for name, unit in (
        (formats.metric_name, formats.quality_unit),
        ("drop", "pp" if formats.fraction else ""),
        *(
            ("latency", formats.latency_unit),
            ("×", ""),
            ("size", formats.size_unit),
            ("×", ""),
            ("MACs", "×"),
        ),
        ("bits", "mean"),
    ):
        table.add_column(f"{name}\n{unit}", justify="right", no_wrap=True)
    table.add_column("notes")
    for point in shown_points(run):
        star = point["trial"] == chosen["trial"]
        table.add_row(*_cells(point, run, formats, star=star), style="bold" if star else None)
    return table


def front_records(run: Run) -> list[dict[str, Any]]:
    """Flat records of the shown points with the keys of RECORD_FIELDS; a number that was not measured is
    None.
    """
    chosen, _ = recommended(run)
    return [_record(point, run, chosen=point["trial"] == chosen["trial"]) for point in shown_points(run)]


def front_csv(run: Run) -> str:
    """The records as CSV with a header line; None is an empty cell, trials are separated by spaces, warnings
    by semicolons.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, RECORD_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(record_row(record) for record in front_records(run))
    return text.getvalue()


def record_row(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its lists as text, for CSV."""
    same = " ".join(map(str, record["indistinguishable_from"]))
    return record | {"indistinguishable_from": same, "warnings": "; ".join(record["warnings"])}


def front_json(run: Run) -> str:
    """The front, what is needed to read it (task, target, environment, constraints, baselines) and why, as
    indented JSON.
    """
    names = (
        "schema_version",
        "task",
        "target",
        "environment",
        "constraints",
        "status",
        "elapsed_s",
        "trials",
    )
    chosen, reason = recommended(run)
    value = {name: run[name] for name in names}
    value |= {"chosen": {"trial": chosen["trial"], "reason": reason}}
    value |= {name: run[name] for name in ("baseline", "uniform_int8", "front", "nearest_misses")}
    value |= {"why": why_json(run)}
    return json.dumps(value, indent=2, ensure_ascii=False)


def shown_points(run: Run) -> list[Point]:
    """The front (without one: the nearest miss), the original model and uniform int8, the fastest first."""
    members = run["front"] or [recommended(run)[0]]
    shown = {point["trial"] for point in members} | {run["baseline"]["trial"]}
    if run["uniform_int8"]:
        shown.add(run["uniform_int8"]["trial"])
    points = [point for point in measured_points(run) if point["trial"] in shown]
    return sorted(points, key=seconds_of)


def _cells(point: Point, run: Run, formats: Formats, *, star: bool) -> list[str]:
    quality = point["quality"]
    label = label_of(point, run).removeprefix("trial ").removesuffix(" int8")
    notes = notes_of(point)
    if same := same_text(point, run):
        notes.append(f"≈{same.replace(', ', ' ≈')}")
    return [
        f"{'★' if star else ' '} {label}",
        f"{formats.bare_quality(quality['validation'])} {formats.quality_spread(quality['interval'])}".rstrip(),
        formats.drop(point["drop"]).removesuffix(" pp"),
        f"{formats.seconds_of(point, unit=False)} {spread_of(point).replace(' ', '')}".rstrip(),
        speed_text(point)[:-1],
        f"{point['artifact']['size_bytes'] / formats.size_scale:,.1f}",
        ratio_text(size_ratio(point, run))[:-1],
        ratio_text(point["artifact"]["macs"] / run["baseline"]["artifact"]["macs"])[:-1],
        bits_text(point),
        ", ".join(notes),
    ]


def _record(point: Point, run: Run, *, chosen: bool) -> dict[str, Any]:
    quality, artifact, predicted = point["quality"], point["artifact"], is_predicted(point)
    latency, low_high = (
        ({}, (None, None)) if predicted else (point["latency"], interval_of(point) or (None, None))
    )
    recovery = point["recipe"]["recovery"]
    return {
        "trial": point["trial"],
        "label": label_of(point, run),
        "on_front": any(point["trial"] == other["trial"] for other in run["front"]),
        "chosen": chosen,
        "quality": quality["validation"],
        "quality_low": quality["interval"][0] if quality["interval"] else None,
        "quality_high": quality["interval"][1] if quality["interval"] else None,
        "test_quality": quality["test"],
        "drop": point["drop"],
        "latency_s": latency.get("latency_s"),
        "latency_low_s": low_high[0],
        "latency_high_s": low_high[1],
        "latency_ratio": latency.get("ratio"),
        "p99_s": latency.get("p99_s"),
        "noisy": latency.get("noisy"),
        "predicted_latency_s": seconds_of(point) if predicted else None,
        "predicted_latency_ratio": ratio_of(point) if predicted else None,
        "prediction_source": point["latency"]["source"] if predicted else None,
        "size_bytes": artifact["size_bytes"],
        "size_ratio": size_ratio(point, run),
        "macs": artifact["macs"],
        "parameters": artifact["parameters"],
        "peak_memory_bytes": latency.get("peak_memory_bytes"),
        "indistinguishable_from": list(point["indistinguishable_from"]),
        "mean_bits": mean_bits(point),
        "recovery_steps": recovery["steps"] if recovery else 0,
        "warnings": list(point["warnings"]),
        "file": artifact["file"],
    }
