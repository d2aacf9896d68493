"""The marks of the figures: how each measured point is drawn, along which axes, and its text on hover."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...text.printable import escape, printable
from ..formats import (
    Formats,
    grouped_warnings,
    interval_of,
    label_of,
    ratio_text,
    recipe_lines,
    same_text,
)
from ..pick import Objective
from ..records.reading import Interval
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
    points: Sequence[PointOn] = ()
    color: str
    symbol: str
    size: int
    symbol_3d: str = "circle"
    opacity: float = 1.0
    spread: bool = False


ROLES = (
    Role(name="dominated", color="var(--other)", symbol="circle-open", size=7, symbol_3d="circle-open"),
    Role(
        name="breaks a limit",
        color="var(--other)",
        symbol="x-thin-open",
        size=7,
        symbol_3d="cross",
        opacity=0.8,
    ),
    Role(name="front", color="var(--front)", symbol="circle", size=9, spread=True),
    Role(
        name="uniform int8",
        color="var(--uniform)",
        symbol="square",
        size=10,
        symbol_3d="square",
        spread=True,
    ),
    Role(
        name="original",
        color="var(--original)",
        symbol="diamond",
        size=11,
        symbol_3d="diamond",
        spread=True,
    ),
    Role(name="chosen", color="var(--chosen)", symbol="star", size=15, spread=True),
    Role(name="selected", color="var(--chosen)", symbol="circle-open", size=22, symbol_3d="circle-open"),
)


def axis_of(run: RunOn, cost: Objective) -> Axis:
    """The axis of an objective, in the units of the run."""
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
    name = printable(formats.metric_name)
    if len(name) > TITLE_WIDTH:
        name = f"{name[: TITLE_WIDTH - 1].rstrip()}…"
    return Axis(
        title=f"{escape(name, quote=False)}{unit}",
        value=lambda point: point.quality.validation / formats.quality_scale,
        interval=lambda point: _scaled(drawn_interval(point), formats.quality_scale),
    )


def drawn_interval(point: PointOn) -> Interval | None:
    """Where the metric lies: by the interval of the drop, if the original's metric is taken as it is."""
    if point.drop_interval is None:
        return point.quality.interval
    formats, value = Formats.of(point.view), point.quality.validation
    low, high = (value + end - point.drop for end in point.drop_interval)
    if not formats.lower_is_better:
        low, high = 2 * value - high, 2 * value - low
    return (max(0.0, low), min(1.0, high)) if formats.fraction else (low, high)


def _scaled(interval: Sequence[float] | None, scale: float) -> list[float] | None:
    return None if interval is None else [end / scale for end in interval]


def _latency_title(run: RunOn) -> str:
    """The title of the latency axis. It says when latencies are predicted."""
    return "~ predicted latency" if run.baseline.predicted else "latency"


def roles_of(run: RunOn, chosen: PointOn) -> list[Role]:
    """Every measured point in one role, the most important last; then a ring around the selected one."""
    uniform = [run.uniform_int8] if run.uniform_int8 else []
    special = {point.trial for point in (*uniform, run.baseline)}
    front = {point.trial for point in run.front}
    plain = [point for point in run.points if point.trial not in special and point.trial != chosen.trial]
    others = [point for point in plain if point.trial not in front]
    points = {
        "dominated": [point for point in others if point.feasible],
        "breaks a limit": [point for point in others if not point.feasible],
        "front": [point for point in plain if point.trial in front],
        "uniform int8": uniform,
        "original": [run.baseline],
        "chosen": [] if chosen.trial in special else [chosen],
        "selected": [chosen],
    }
    return [replace(role, points=points[role.name]) for role in ROLES]


def trace_of(role: Role, run: RunOn) -> dict[str, Any]:
    """The part of a role's trace that is the same in two and in three dimensions."""
    hovered = role.name != "selected"
    return {
        "name": role.name,
        "opacity": role.opacity,
        "customdata": [point.trial for point in role.points],
        "hoverinfo": "text" if hovered else "skip",
        "hovertext": [hover_text(point, run, role.name) for point in role.points] if hovered else None,
    }


def _quality_text(point: PointOn, formats: Formats) -> str:
    text = formats.quality_of(point)
    return text if point.drop_interval else f"{text}, drop {formats.drop_of(point)}"


def hover_text(point: PointOn, run: RunOn, role: str) -> str:
    """The point's numbers and recipe in Plotly's small HTML."""
    formats, label = Formats.of(run), label_of(point, run)
    predicted = " (predicted)" if point.predicted else ""
    facts = [
        f"{formats.metric_name} {_quality_text(point, formats)}",
        f"latency {formats.latency_of(point)}{predicted}",
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
