"""The marks of the figures: what each measured point is drawn as, along which axes, and what it says when
hovered.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..formats import (
    Formats,
    Point,
    Run,
    grouped_warnings,
    interval_of,
    is_predicted,
    label_of,
    ratio_text,
    recipe_lines,
    same_text,
    seconds_of,
    size_ratio,
    speed_text,
)
from ..pick import Objective, measured_points

HOVER_WIDTH = 46  # characters; fits a telephone
TITLE_WIDTH = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One quantity of a point, in the unit that is drawn, with the ends of its interval (None: exact)."""

    title: str
    value: Callable[[Point], float]
    interval: Callable[[Point], Sequence[float] | None]

    def error_bars(self, points: Sequence[Point], color: str, width: int = 0) -> dict[str, Any] | None:
        """Plotly's asymmetric error bars; None for an exact quantity."""
        ends = [(self.value(point), self.interval(point)) for point in points]
        if all(interval is None for _, interval in ends):
            return None
        above = [interval[1] - value if interval else 0.0 for value, interval in ends]
        below = [value - interval[0] if interval else 0.0 for value, interval in ends]
        return {
            "type": "data",
            "array": above,
            "arrayminus": below,
            "color": color,
            "thickness": 1,
            "width": width,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Points of one kind and how they are drawn in two and in three dimensions."""

    name: str
    points: Sequence[Point]
    color: str
    symbol: str
    size: int
    symbol_3d: str = "circle"
    opacity: float = 1.0
    spread: bool = False


def axis_of(run: Run, cost: Objective) -> Axis:
    formats = Formats.of(run)
    if cost == "latency":
        scale = formats.latency_scale
        return Axis(
            title=f"{_latency_title(run)}, {formats.latency_unit}",
            value=lambda point: seconds_of(point) / scale,
            interval=lambda point: (interval := interval_of(point)) and [end / scale for end in interval],
        )
    if cost == "size":
        return Axis(
            title=f"size, {formats.size_unit}",
            value=lambda point: point["artifact"]["size_bytes"] / formats.size_scale,
            interval=lambda point: None,
        )
    unit = f", {formats.quality_unit}" if formats.quality_unit else ""
    return Axis(
        title=f"{escape(textwrap.shorten(formats.metric_name, TITLE_WIDTH, placeholder='…'), quote=False)}{unit}",
        value=lambda point: point["quality"]["validation"] / formats.quality_scale,
        interval=lambda point: (
            point["quality"]["interval"]
            and [end / formats.quality_scale for end in point["quality"]["interval"]]
        ),
    )


def _latency_title(run: Run) -> str:
    """What the axis is called: predictions are never drawn under the name of measurements."""
    return "~ predicted latency" if is_predicted(run["baseline"]) else "latency"


def roles_of(run: Run, chosen: Point) -> list[Role]:
    """Every measured point in exactly one role, the most important drawn last, and the ring of the selected
    one.
    """
    special = {point["trial"]: name for name in ("uniform_int8", "baseline") if (point := run[name])}
    front = {point["trial"] for point in run["front"]}
    plain = [p for p in measured_points(run) if p["trial"] not in special and p["trial"] != chosen["trial"]]
    others = [p for p in plain if p["trial"] not in front]
    broken = [p for p in others if not p["feasible"]]
    kept = [p for p in others if p["feasible"]]
    members = [p for p in plain if p["trial"] in front]
    star = [] if chosen["trial"] in special else [chosen]
    grey, ring = "var(--other)", "var(--chosen)"
    uniform = [p for p in [run["uniform_int8"]] if p]
    return [
        Role(
            name="dominated", points=kept, color=grey, symbol="circle-open", size=7, symbol_3d="circle-open"
        ),
        Role(
            name="breaks a limit",
            points=broken,
            color=grey,
            symbol="x-thin-open",
            size=7,
            symbol_3d="cross",
            opacity=0.8,
        ),
        Role(name="front", points=members, color="var(--front)", symbol="circle", size=9, spread=True),
        Role(
            name="uniform int8",
            points=uniform,
            color="var(--uniform)",
            symbol="square",
            size=10,
            symbol_3d="square",
            spread=True,
        ),
        Role(
            name="original",
            points=[run["baseline"]],
            color="var(--original)",
            symbol="diamond",
            size=11,
            symbol_3d="diamond",
            spread=True,
        ),
        Role(name="chosen", points=star, color=ring, symbol="star", size=15, symbol_3d="circle", spread=True),
        Role(
            name="selected",
            points=[chosen],
            color=ring,
            symbol="circle-open",
            size=22,
            symbol_3d="circle-open",
        ),
    ]


def trace_of(role: Role, run: Run) -> dict[str, Any]:
    """What a role's trace has in two and in three dimensions alike."""
    hovered = role.name != "selected"
    return {
        "name": role.name,
        "opacity": role.opacity,
        "customdata": [point["trial"] for point in role.points],
        "hoverinfo": "text" if hovered else "skip",
        "hovertext": [hover_text(point, run, role.name) for point in role.points] if hovered else None,
    }


def hover_text(point: Point, run: Run, role: str) -> str:
    """The point's numbers and recipe in Plotly's small HTML."""
    formats, label = Formats.of(run), label_of(point, run)
    facts = [
        f"{formats.metric_name} {formats.quality_of(point)}, drop {formats.drop(point['drop'])}",
        f"latency {formats.latency_of(point)}, {speed_text(point)}{' (predicted)' if is_predicted(point) else ''}",
        f"size {formats.size_of(point)}, {ratio_text(size_ratio(point, run))}",
    ]
    if same := same_text(point, run):
        facts.append(f"≈ indistinguishable from {same}")
    wrapped = [
        part
        for line in (*facts, *recipe_lines(point, run), *grouped_warnings(point)[:2])
        for part in textwrap.wrap(line, HOVER_WIDTH, subsequent_indent="\u2003")
    ]
    heading = label if role == label else f"{label} · {role}"
    return "<br>".join(
        [f"<b>{escape(heading, quote=False)}</b>", *(escape(line, quote=False) for line in wrapped)]
    )


def outline_of(symbol: str) -> dict[str, Any]:
    """A thin line in the card's color parts overlapping marks; open symbols are drawn with their own color."""
    return {"width": 1.6} if symbol.endswith("open") else {"width": 1, "color": "var(--card)"}
