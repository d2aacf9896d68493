"""The figures as Plotly JSON. Colors are names of the style sheet."""

import math
from dataclasses import replace
from typing import Any

from ...profiles.units import format_duration
from ..choosing.recommended import recommended
from ..formats import Formats
from ..pick import Objective
from ..view import PointOn, RunOn
from .marks import Axis, axis_of, drawn_interval, outline_of, roles_of, trace_of

MOST_TICKS = 9
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PLAIN_AXIS = {"gridcolor": "var(--grid)", "zeroline": False, "linecolor": "var(--line)"}
PLAIN_AXIS_3D = {
    "gridcolor": "var(--line)",
    "showbackground": False,
    "zeroline": False,
    "nticks": 5,
    "showspikes": False,
}
VIEW = {
    "camera": {"eye": {"x": -0.92, "y": -1.44, "z": 0.6}, "center": {"x": 0, "y": 0, "z": -0.2}},
    "aspectmode": "manual",
    "aspectratio": {"x": 1.25, "y": 1.1, "z": 0.9},
    "dragmode": "turntable",
}


def plane(run: RunOn, cost: Objective, *, chosen: PointOn) -> dict[str, Any]:
    """Quality (up is better) against latency or size, with the front's staircase, limits and spread bars."""
    import plotly.graph_objects as go

    across, up = axis_of(run, cost), axis_of(run, "drop")
    figure = go.Figure(_staircase(run, across, up))
    for role in roles_of(run, chosen):
        figure.add_scatter(
            x=[across.value(point) for point in role.points],
            y=[up.value(point) for point in role.points],
            error_x=across.error_bars(role.points, role.color) if role.spread else None,
            error_y=up.error_bars(role.points, "var(--spread)") if role.spread else None,
            mode="markers",
            marker={
                "color": role.color,
                "symbol": role.symbol,
                "size": role.size,
                "line": outline_of(role.symbol),
            },
            **trace_of(role, run),
        )
    _draw_limits(figure, run, cost)
    figure.update_layout(_layout(), hovermode="closest")
    figure.update_xaxes(title=_title(across.title), **(_extent(run, across, cost) | PLAIN_AXIS))
    figure.update_yaxes(title=_title(up.title), range=quality_range(run), nticks=7, **PLAIN_AXIS)
    return _json(figure)


def space(run: RunOn, *, chosen: PointOn) -> dict[str, Any]:
    """Latency, size and quality in three dimensions, with spread bars and the front's shadow on the floor."""
    import plotly.graph_objects as go

    latency, size, up = axis_of(run, "latency"), axis_of(run, "size"), axis_of(run, "drop")
    floor, ceiling = quality_range(run)
    figure = go.Figure(layout=_layout())
    figure.add_scatter3d(
        x=[latency.value(point) for point in run.front],
        y=[size.value(point) for point in run.front],
        z=[floor] * len(run.front),
        mode="markers",
        marker={"color": "var(--shadow)", "size": 4, "line_width": 0},
        hoverinfo="skip",
    )
    for role in roles_of(run, chosen):
        low, high = sorted((floor, ceiling))
        shown = replace(role, points=[point for point in role.points if low <= up.value(point) <= high])
        figure.add_scatter3d(
            x=[latency.value(point) for point in shown.points],
            y=[size.value(point) for point in shown.points],
            z=[up.value(point) for point in shown.points],
            error_x=latency.error_bars(shown.points, role.color) if role.spread else None,
            error_z=up.error_bars(shown.points, "var(--spread-solid)") if role.spread else None,
            mode="markers",
            marker={"color": role.color, "symbol": role.symbol_3d, "size": role.size / 2, "line_width": 0},
            **trace_of(shown, run),
        )
    axes = {
        "xaxis": {"title": {"text": latency.title}, **_extent(run, latency, "latency")},
        "yaxis": {"title": {"text": size.title}, **_extent(run, size, "size")},
        "zaxis": {"title": {"text": up.title}, "range": [floor, ceiling]},
    }
    scene = {name: {**axis, **PLAIN_AXIS_3D} for name, axis in axes.items()}
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0}, scene={**scene, **VIEW})
    return _json(figure)


def history(run: RunOn) -> dict[str, Any]:
    """The normalized hypervolume (0 to 1) over the search's time."""
    import plotly.graph_objects as go

    rows = run.run.history
    unit, scale = _time_unit(rows[-1].elapsed_s if rows else 0.0)
    figure = go.Figure(layout=_layout())
    figure.add_scatter(
        x=[row.elapsed_s / scale for row in rows],
        y=[row.hypervolume for row in rows],
        mode="lines+markers",
        line={"shape": "hv", "color": "var(--front)", "width": 2},
        marker={"color": "var(--front)", "size": 4},
        fill="tozeroy",
        fillcolor="var(--front-faint)",
        hoverinfo="text",
        hovertext=[
            f"<b>{row.hypervolume:.3f}</b> after {format_duration(row.elapsed_s)}<br>trial {row.trial}"
            for row in rows
        ],
        customdata=[row.trial for row in rows],
    )
    figure.update_layout(dragmode=False)
    end = 1.03 * max((row.elapsed_s for row in rows), default=1.0) / scale
    figure.update_xaxes(title=_title(unit), range=[0, end], **PLAIN_AXIS)
    figure.update_yaxes(title=_title("hypervolume"), rangemode="tozero", **PLAIN_AXIS)
    return _json(figure)


def quality_range(run: RunOn) -> tuple[float, float]:
    """Bottom and top of the quality axis in the drawn unit; bottom > top when a lower metric is better.

    The range includes the front, the recommended point, the original, uniform int8 and the allowed drop. It
    ends at the largest drop of the objective space, so that a few bad candidates do not squash the others.
    """
    formats, sign = Formats.of(run), -1 if Formats.of(run).lower_is_better else 1
    chosen, limit = run.on(recommended(run.run).point), run.limits.drop or 0.0
    important = [point for point in (*run.front, run.baseline, run.uniform_int8, chosen) if point]
    # Upwards is better from here on: a lower-is-better metric counts negative.
    values = [sign * point.quality.validation for point in important]
    original, high = sign * run.baseline.quality.validation, max(values)
    worst = original - max(run.run.drop_scale, 1.15 * limit, chosen.drop)
    low = max(worst, min(*values, original - 1.15 * limit))
    spreads = [interval for point in important if (interval := drawn_interval(point))]
    widest = max(((end - start) / 2 for start, end in spreads), default=0.0)
    # Spread bars may leave the view: on a small validation set they are longer than all the differences.
    margin = max(0.08 * (high - low), min(1.1 * widest, 0.3 * (high - low))) or 0.05 * abs(high) or 1.0
    return sign * (low - margin) / formats.quality_scale, sign * (high + margin) / formats.quality_scale


def _staircase(run: RunOn, across: Axis, up: Axis) -> dict[str, Any]:
    """The front's staircase in this plane: for each cost the best quality that is possible up to it."""
    best, steps = float("inf"), []
    for point in sorted(run.front, key=lambda point: (across.value(point), point.drop)):
        if point.drop < best:
            best = point.drop
            steps.append(point)
    return {
        "type": "scatter",
        "x": [across.value(point) for point in steps],
        "y": [up.value(point) for point in steps],
        "mode": "lines",
        "line": {"shape": "hv", "color": "var(--front-soft)", "width": 2},
        "hoverinfo": "skip",
    }


def _extent(run: RunOn, axis: Axis, cost: Objective) -> dict[str, Any]:
    """Range and ticks of a cost. Latency begins at 0. Sizes differ by factors, so theirs is logarithmic."""
    shown = [point for point in (*run.front, run.baseline, run.uniform_int8) if point]
    highest = max(axis.value(point) for point in shown)
    if cost != "size":
        return {"range": [0, 1.06 * highest], "nticks": 7}
    low = 0.85 * min(axis.value(point) for point in run.points)
    high = 1.18 * highest
    ticks = _log_ticks(low, high)
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [f"{tick:,.10g}" for tick in ticks],
    }


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 … between the ends; the powers of ten alone where these are too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [
        step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high
    ]
    few = [tick for tick in inside if math.log10(tick).is_integer()]
    return inside if len(inside) <= MOST_TICKS else few


def _time_unit(seconds: float) -> tuple[str, float]:
    """The unit in which such a time is drawn, and its seconds."""
    if seconds >= 3 * 3600:
        return "hours", 3600.0
    return ("minutes", 60.0) if seconds >= 180 else ("seconds", 1.0)


def _draw_limits(figure: Any, run: RunOn, cost: Objective) -> None:
    """The search's own limits as dashed lines."""
    formats, limits = Formats.of(run), run.limits
    line = {"line_dash": "dash", "line_width": 1, "line_color": "var(--limit)"}
    words = {"annotation_font_color": "var(--limit)", "annotation_font_size": 11}
    if (limit := limits.drop) is not None:
        sign = -1 if formats.lower_is_better else 1
        height = (run.baseline.quality.validation - sign * limit) / formats.quality_scale
        text = f"allowed drop {formats.drop(limit)}"
        figure.add_hline(height, annotation_text=text, annotation_position="bottom right", **line, **words)
    value, scale = {
        "latency": (limits.latency_s, formats.latency_scale),
        "size": (limits.size_bytes, formats.size_scale),
        "drop": (None, 1),
    }[cost]
    if value is not None:
        # on a logarithmic axis Plotly takes lines by their value, but notes by its logarithm
        place = math.log10(value / scale) if cost == "size" else value / scale
        note = {
            "text": "limit",
            "showarrow": False,
            "xanchor": "left",
            "yanchor": "top",
            "yref": "paper",
            "y": 1,
        }
        figure.add_vline(value / scale, **line)
        figure.add_annotation(x=place, font={"color": "var(--limit)", "size": 11}, **note)


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "standoff": 8, "font": {"size": 12.5}}


def _layout() -> dict[str, Any]:
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": "var(--soft)"},
        "margin": {"l": 54, "r": 14, "t": 24, "b": 46},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "var(--other)", "activecolor": "var(--front)"},
        "showlegend": False,
        "hoverlabel": {
            "align": "left",
            "bgcolor": "var(--card)",
            "bordercolor": "var(--line)",
            "font": {"family": FONT, "size": 12, "color": "var(--ink)"},
        },
    }


def _json(figure: Any) -> dict[str, Any]:
    """The figure as plain JSON values, without Plotly's binary arrays."""
    value: dict[str, Any] = figure.to_dict()
    return value
