"""The front of a run with several targets: one table with a latency column for each; JSON and CSV for
programs.
"""

import csv
import io
import json
from typing import TYPE_CHECKING

from .formats import (
    Formats,
    Point,
    Run,
    bits_text,
    is_noisy,
    label_of,
    prediction_note,
    ratio_text,
    size_ratio,
    speed_text,
    spread_of,
)
from .pick_joint import complete_points, recommended_jointly, worst_cost
from .table import RECORD_FIELDS, front_records, record_row
from .views import is_measured_on, point_on, run_on, targets_of

if TYPE_CHECKING:
    from rich.table import Table


def joint_columns(run: Run) -> list[str]:
    """The headings of the joint table: two for each target."""
    formats = Formats.of(run)
    latencies = [name for target in targets_of(run) for name in (f"{target}\n{formats.latency_unit}", "×")]
    quality, drop = (
        f"{formats.metric_name}\n{formats.quality_unit}",
        "drop\npp" if formats.fraction else "drop",
    )
    return ["trial", quality, drop, *latencies, f"size\n{formats.size_unit}", "×", "bits\nmean"]


def joint_cells(point: Point, run: Run, *, star: bool) -> list[str]:
    """The point's row under `joint_columns`; drop and size are those of the target where they are worst."""
    formats, quality = Formats.of(run), point["quality"]
    label = label_of(point, run).removeprefix("trial ").removesuffix(" int8")
    latencies = [
        cell for target in targets_of(run) for cell in _latency_cells(point_on(point, target), formats)
    ]
    largest = max(
        (point_on(point, target) for target in targets_of(run)),
        key=lambda seen: int(seen["artifact"]["size_bytes"]),
    )
    return [
        f"{'★' if star else ' '} {label}",
        f"{formats.bare_quality(quality['validation'])} {formats.quality_spread(quality['interval'])}".rstrip(),
        formats.drop(worst_cost(point, run, "drop")).removesuffix(" pp"),
        *latencies,
        f"{largest['artifact']['size_bytes'] / formats.size_scale:,.1f}",
        ratio_text(size_ratio(largest, run))[:-1],
        bits_text(point),
    ]


def _latency_cells(seen: Point, formats: Formats) -> list[str]:
    spread, noisy = spread_of(seen).replace(" ", ""), " noisy" if is_noisy(seen) else ""
    return [f"{formats.seconds_of(seen, unit=False)} {spread}{noisy}".rstrip(), speed_text(seen)[:-1]]


def joint_points(run: Run) -> list[Point]:
    """The joint front (or else the nearest miss), the original, uniform int8; what is fastest on its slowest
    target first.
    """
    members = run["front"] or [recommended_jointly(run)[0]]
    shown = {point["trial"] for point in (*members, run["baseline"], run["uniform_int8"]) if point}
    points = [point for point in complete_points(run) if point["trial"] in shown]
    return sorted(points, key=lambda point: worst_cost(point, run, "latency"))


def prediction_notes(run: Run) -> list[str]:
    """One sentence for each target whose latencies are predicted."""
    return [note for name in targets_of(run) if (note := prediction_note(run_on(run, name)))]


def missing_note(run: Run) -> str:
    """Says how many points have no latency on a target, and for which the original waits, too; empty when
    none is missing.
    """
    every = [run["baseline"], *run["front"], *run["dominated"]]
    counts = {name: sum(not is_measured_on(point, name) for point in every) for name in targets_of(run)}
    told = [
        f"{count} point{'s' if count > 1 else ''} could not be measured on {name}"
        for name, count in counts.items()
        if count
    ]
    away = {name: found for name, found in run.get("queued", {}).items() if name not in counts}
    told += [
        f"{name} was away, {found['count']} measurements are queued for it and its limits are open"
        for name, found in away.items()
    ]
    return f"{', '.join(told)}: the next session tries again." if told else ""


def joint_table(run: Run) -> "Table":
    """A rich table of the front of all targets together; `★` is the point to look at."""
    from rich.table import Table

    chosen, reason = recommended_jointly(run)
    caption = f"★ {reason}. A point is on this front when no other is as good in its worst drop, size and latency ×. ± 95 %."
    for note in (missing_note(run), *prediction_notes(run)):
        caption += f"\n{note}" if note else ""
    table = Table(
        title="all targets",
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.padding, table.header_style = (0, 1, 0, 0), "bold"
    for index, name in enumerate(joint_columns(run)):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for point in joint_points(run):
        star = point["trial"] == chosen["trial"]
        table.add_row(*joint_cells(point, run, star=star), style="bold" if star else None)
    return table


def joint_json(run: Run) -> str:
    """The joint front, each target's own, and what is needed to read them, as indented JSON."""
    names = (
        "schema_version",
        "task",
        "target",
        "targets",
        "environment",
        "constraints",
        "status",
        "elapsed_s",
        "trials",
    )
    chosen, reason = recommended_jointly(run)
    value = {name: run[name] for name in names} | {"chosen": {"trial": chosen["trial"], "reason": reason}}
    value |= {name: run[name] for name in ("baseline", "uniform_int8", "front", "fronts", "nearest_misses")}
    value |= {"queued": run.get("queued", {})}
    return json.dumps(value, indent=2, ensure_ascii=False)


def joint_csv(run: Run) -> str:
    """The front of every target as CSV, one after the other; the first column says which target a line is of."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ("target", *RECORD_FIELDS), lineterminator="\n")
    writer.writeheader()
    for target in targets_of(run):
        writer.writerows(
            {"target": target, **record_row(record)} for record in front_records(run_on(run, target))
        )
    return text.getvalue()
