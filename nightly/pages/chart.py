"""A quantity over the nights as SVG, with the nights marked in which the environment changed. No script."""

from collections.abc import Sequence

from ...text.printable import escape
from ...text.svg import round_numbers, svg_text
from .trends import Changed, Quantity, Series, Trend

_WIDTH, _HEIGHT = 470, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 14, 34
_TICKS = 4
_COLORS = ("var(--front)", "var(--uniform)", "var(--good)", "var(--limit)", "var(--soft)")
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 3")  # beside the color, for whoever does not see it
_TITLES: dict[Quantity, str] = {
    "quality": "quality on validation",
    "latency": "latency relative to the original",
    "size": "size relative to the original",
    "hypervolume": "hypervolume of the front",
}


def title_of(quantity: Quantity) -> str:
    """What the chart of a quantity is called."""
    return _TITLES[quantity]


def legend(series: Sequence[Series]) -> str:
    """The names of the series with their lines; empty for one alone."""
    if len(series) < 2:
        return ""
    entries = "".join(
        f'<li><svg width="26" height="10" aria-hidden="true">{_path("M0,5H26", number)}</svg>'
        f"{escape(one.name)}</li>"
        for number, one in enumerate(series)
    )
    return f'<ul class="legend">{entries}</ul>'


def trend_chart(trend: Trend, quantity: Quantity) -> str:
    """The series of the quantity as an SVG element of any width; empty without any value."""
    series = trend.of(quantity)
    ends = [end for one in series for value in one.values for end in (value.value, *(value.interval or ()))]
    if not ends:
        return ""
    low, high = _extent(ends)
    parts = [_axis(low, high), _dates(trend)]
    parts += [_change(trend, changed) for changed in trend.changed]
    parts += [_line_of(trend, one, (low, high), number) for number, one in enumerate(series)]
    words = f"{trend.model}: {title_of(quantity)} over {len(trend.nights)} nights"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" aria-label="{escape(words)}" '
        f'font-size="12" font-family="inherit">{"".join(parts)}</svg>'
    )


def _extent(ends: Sequence[float]) -> tuple[float, float]:
    low, high = min(ends), max(ends)
    margin = 0.15 * (high - low) or 0.02 * abs(high) or 1.0
    return low - margin, high + margin


def _x(trend: Trend, night: int) -> float:
    """All nights are equally far apart; a single one is in the middle."""
    share = night / (len(trend.nights) - 1) if len(trend.nights) > 1 else 0.5
    return _LEFT + 8 + share * (_WIDTH - _RIGHT - _LEFT - 16)


def _y(value: float, extent: tuple[float, float]) -> float:
    low, high = extent
    return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _BOTTOM - _TOP)


def _axis(low: float, high: float) -> str:
    parts = []
    for tick in round_numbers(low, high, most=_TICKS):
        y = _y(tick, (low, high))
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--grid)"/>'
        )
        parts.append(svg_text(_LEFT - 8, y + 4, f"{tick:.4g}".replace("-", "−"), anchor="end"))
    return "".join(parts)


def _dates(trend: Trend) -> str:
    y = _HEIGHT - 10
    if len(trend.nights) == 1:
        return svg_text(_x(trend, 0), y, trend.nights[0])
    last = len(trend.nights) - 1
    return svg_text(_LEFT, y, trend.nights[0], anchor="start") + svg_text(
        _x(trend, last), y, trend.nights[last], anchor="end"
    )


def _change(trend: Trend, changed: Changed) -> str:
    """A line through the night in which the environment changed."""
    x = _x(trend, changed.night)
    title = f"{trend.nights[changed.night]}: {', '.join(changed.what)}"
    ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{_HEIGHT - _BOTTOM}"'
    return (
        f'<g class="changed"><title>{escape(title)}</title>'
        f'<line {ends} stroke="var(--limit)" stroke-width="1.5" stroke-dasharray="4 3"/>'
        f'<path d="M{x:.1f},{_TOP + 4} l-5,-9 h10 z" fill="var(--limit)"/></g>'
    )


def _line_of(trend: Trend, series: Series, extent: tuple[float, float], number: int) -> str:
    """The series as a line of straight pieces with a dot for each night, and the interval behind it."""
    points = [(_x(trend, one.night), _y(one.value, extent)) for one in series.values]
    steps = [f"{'L' if place else 'M'}{x:.1f},{y:.1f}" for place, (x, y) in enumerate(points)]
    dots = []
    for (x, y), one in zip(points, series.values, strict=True):
        spread = ""
        if one.interval is not None:
            bottom, top = (_y(end, extent) for end in one.interval)
            spread = (
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{top:.1f}" '
                f'stroke="{_color(number)}" stroke-opacity="0.4"/>'
            )
        title = f"{trend.nights[one.night]}, {series.name}: {one.value:.4g}"
        dots.append(
            f'<g><title>{escape(title)}</title>{spread}<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" '
            f'fill="{_color(number)}"/></g>'
        )
    return _path("".join(steps), number) + "".join(dots)


def _path(steps: str, number: int) -> str:
    dashes = _DASHES[number % len(_DASHES)]
    style = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="{steps}" fill="none" stroke="{_color(number)}" stroke-width="1.6"{style}/>'


def _color(number: int) -> str:
    return _COLORS[number % len(_COLORS)]
