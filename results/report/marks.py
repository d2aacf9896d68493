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
    grouped_warnings,
    interval_of,
    label_of,
    ratio_text,
    recipe_lines,
    same_text,
    speed_text,
)
from ..pick import Objective
from ..view import PointOn, RunOn

HOVER_WIDTH = 46  # characters; fits a telephone
TITLE_WIDTH = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One quantity of a point, in the unit that is drawn, with the ends of its interval (None: exact)."""

    title: str
    value: Callable[[PointOn], float]
    interval: Callable[[PointOn], Sequence[float] | None]

    def error_bars(self, points: Sequence[PointOn], color: str, width: int = 0) -> dict[str, Any] | None:
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
    points: Sequence[PointOn]
    color: str
    symbol: str
    size: int
    symbol_3d: str = "circle"
    opacity: float = 1.0
    spread: bool = False


def axis_of(run: RunOn, cost: Objective) -> Axis:
    formats = Formats.of(run)
    if cost == "latency":
        scale = formats.latency_scale
        return Axis(
            title=f"{_latency_title(run)}, {formats.latency_unit}",
            value=lambda point: point.latency.seconds / scale,
            interval=lambda point: _scaled(interval_of(point.latency), scale),
        )
    if cost == "size":
        return Axis(
            title=f"size, {formats.size_unit}",
            value=lambda point: point.size_bytes / formats.size_scale,
            interval=lambda point: None,
        )
    unit = f", {formats.quality_unit}" if formats.quality_unit else ""
    name = textwrap.shorten(formats.metric_name, TITLE_WIDTH, placeholder="…")
    return Axis(
        title=f"{escape(name, quote=False)}{unit}",
        value=lambda point: point.quality.validation / formats.quality_scale,
        interval=lambda point: _scaled(point.quality.interval, formats.quality_scale),
    )


def _scaled(interval: Sequence[float] | None, scale: float) -> list[float] | None:
    return None if interval is None else [end / scale for end in interval]


def _latency_title(run: RunOn) -> str:
    """What the axis is called: predictions are never drawn under the name of measurements."""
    return "~ predicted latency" if run.baseline.predicted else "latency"


def roles_of(run: RunOn, chosen: PointOn) -> list[Role]:
    """Every measured point in exactly one role, the most important drawn last, and the ring of the selected
    one.
    """
    uniform = [run.uniform_int8] if run.uniform_int8 else []
    special = {point.trial for point in (*uniform, run.baseline)}
    front = {point.trial for point in run.front}
    plain = [p for p in run.points if p.trial not in special and p.trial != chosen.trial]
    others = [p for p in plain if p.trial not in front]
    broken = [p for p in others if not p.feasible]
    dominated = [p for p in others if p.feasible]
    members = [p for p in plain if p.trial in front]
    star = [] if chosen.trial in special else [chosen]
    grey, ring = "var(--other)", "var(--chosen)"
    return [
        Role(
            name="dominated",
            points=dominated,
            color=grey,
            symbol="circle-open",
            size=7,
            symbol_3d="circle-open",
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
            points=[run.baseline],
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


def trace_of(role: Role, run: RunOn) -> dict[str, Any]:
    """What a role's trace has in two and in three dimensions alike."""
    hovered = role.name != "selected"
    return {
        "name": role.name,
        "opacity": role.opacity,
        "customdata": [point.trial for point in role.points],
        "hoverinfo": "text" if hovered else "skip",
        "hovertext": [hover_text(point, run, role.name) for point in role.points] if hovered else None,
    }


def hover_text(point: PointOn, run: RunOn, role: str) -> str:
    """The point's numbers and recipe in Plotly's small HTML."""
    formats, label, predicted = (
        Formats.of(run),
        label_of(point, run),
        " (predicted)" if point.predicted else "",
    )
    facts = [
        f"{formats.metric_name} {formats.quality_of(point)}, drop {formats.drop(point.drop)}",
        f"latency {formats.latency_of(point)}, {speed_text(point.latency)}{predicted}",
        f"size {formats.size_of(point)}, {ratio_text(point.size_ratio)}",
    ]
    if same := same_text(point):
        facts.append(f"≈ indistinguishable from {same}")
    wrapped = [
        part
        for line in (*facts, *recipe_lines(point), *grouped_warnings(point)[:2])
        for part in textwrap.wrap(line, HOVER_WIDTH, subsequent_indent="\u2003")
    ]
    heading = label if role == label else f"{label} · {role}"
    return "<br>".join(
        [f"<b>{escape(heading, quote=False)}</b>", *(escape(line, quote=False) for line in wrapped)]
    )


def outline_of(symbol: str) -> dict[str, Any]:
    """A thin line in the card's color parts overlapping marks; open symbols keep their own color."""
    return {"width": 1.6} if symbol.endswith("open") else {"width": 1, "color": "var(--card)"}
