"""Two fronts over each other as SVG: drop (up is better) over the latency or size relative to the original.

It needs no script, so that a page, a report and a notebook show the same. Colors are names of the report's
style sheet, with a value for where there is none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...text.printable import escape
from ...text.svg import round_numbers, svg_text
from ..formats import Formats, ratio_text
from ..view import PointOn
from .change import bounded, half_drop, latency_ratio, relative_half_width
from .comparison import Pair

Across = Literal["latency", "size"]
_WIDTH, _HEIGHT = 470, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 46
_MOST_TICKS = 6
_THEN, _NOW = "var(--soft, #6b7a89)", "var(--front, #0b66c3)"
_GRID, _PICK = "var(--grid, #d8dee5)", "var(--chosen, #d1450b)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """A straight map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers between the ends."""
        return round_numbers(self.low, self.high, most=_MOST_TICKS)


def front_chart(pair: Pair, across: Across) -> str:
    """The fronts of both runs with the picks of the policies ringed, as an SVG element of any width."""
    fronts = (pair.old.front or (pair.old.baseline,), pair.new.front or (pair.new.baseline,))
    shown = [*fronts[0], *fronts[1], pair.old.baseline, pair.new.baseline]
    formats = Formats.of(pair.new)
    horizontal = _Scale(
        low=0.0, high=1.06 * max(_cost(one, across) for one in shown), start=_LEFT, end=_WIDTH - _RIGHT
    )
    vertical = _drop_scale(shown)
    parts = [_axes(horizontal, vertical, formats, across)]
    for front, color, old in ((fronts[0], _THEN, True), (fronts[1], _NOW, False)):
        parts.append(_staircase(front, across, (horizontal, vertical), color, dashed=old))
        parts += [_mark(pair, point, across, (horizontal, vertical), old=old) for point in front]
    words = f"Fronts of {pair.sides[0].label} and {pair.sides[1].label}: drop over {across}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" aria-label="{escape(words)}" '
        f'font-size="12" font-family="inherit">{"".join(parts)}</svg>'
    )


def _drop_scale(points: Sequence[PointOn]) -> _Scale:
    """Drops in the written unit, the least on top."""
    drops = [_written(point) for point in points]
    low, high = min(drops), max(drops)
    margin = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    return _Scale(low=low - margin, high=high + margin, start=_TOP, end=_HEIGHT - _BOTTOM)


def _axes(horizontal: _Scale, vertical: _Scale, formats: Formats, across: Across) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in horizontal.ticks():
        x = horizontal(tick)
        parts.append(_line(x, _TOP, x, bottom, _GRID))
        parts.append(svg_text(x, bottom + 17, f"{tick:.3g}"))
    for tick in vertical.ticks():
        y = vertical(tick)
        parts.append(_line(_LEFT, y, right, y, _GRID))
        parts.append(svg_text(_LEFT - 8, y + 4, f"{tick:.3g}".replace("-", "−"), anchor="end"))
    unit = "points" if formats.fraction else formats.metric_name
    parts.append(svg_text((_LEFT + right) / 2, _HEIGHT - 10, f"{across} relative to the original"))
    middle = (_TOP + bottom) / 2
    title = f'<g transform="rotate(-90 14 {middle:.0f})">{svg_text(14, middle, f"drop in {unit}")}</g>'
    return "".join([*parts, title])


def _staircase(
    front: Sequence[PointOn], across: Across, scales: tuple[_Scale, _Scale], color: str, *, dashed: bool
) -> str:
    """For each cost the least drop that is possible up to it."""
    horizontal, vertical = scales
    best, corners = math.inf, list[str]()
    for point in sorted(front, key=lambda one: (_cost(one, across), one.drop)):
        if point.drop < best:
            x, y = horizontal(_cost(point, across)), vertical(_written(point))
            corners.append(f"H{x:.1f}V{y:.1f}" if corners else f"M{x:.1f},{y:.1f}")
            best = point.drop
    style = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{"".join(corners)}" fill="none" stroke="{color}" stroke-width="1.5"{style}/>'


def _mark(pair: Pair, point: PointOn, across: Across, scales: tuple[_Scale, _Scale], *, old: bool) -> str:
    """A ring for a point of then, a disc for one of now, with its intervals; a ring around a pick."""
    x, y = scales[0](_cost(point, across)), scales[1](_written(point))
    color, side = (_THEN, pair.sides[0]) if old else (_NOW, pair.sides[1])
    names = [
        pick.policy.name
        for pick in pair.picks
        if (chosen := pick.old if old else pick.new) is not None and chosen.trial == point.trial
    ]
    formats = Formats.of(point.view)
    numbers = f"drop {formats.drop_of(point)}, {ratio_text(latency_ratio(point))} latency"
    title = (
        f"{'then' if old else 'now'}, {side.name_of(point)}: {numbers}, {ratio_text(point.size_ratio)} size"
    )
    title += f" ({', '.join(names)})" if names else ""
    fill = f'fill="none" stroke="{color}" stroke-width="1.6"' if old else f'fill="{color}"'
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="none" stroke="{_PICK}" stroke-width="1.6"/>'
    return (
        f"<g><title>{escape(title)}</title>{_spread(point, across, scales, color)}"
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {fill}/>{ring if names else ""}</g>'
    )


def _spread(point: PointOn, across: Across, scales: tuple[_Scale, _Scale], color: str) -> str:
    horizontal, vertical = scales
    x, y = horizontal(_cost(point, across)), vertical(_written(point))
    parts, drop = [], half_drop(point)
    if drop:
        half = drop / Formats.of(point.view).quality_scale
        ends = (vertical(_written(point) - half), vertical(_written(point) + half))
        parts.append(_line(x, ends[0], x, ends[1], color, opacity=0.35))
    share = relative_half_width(point)
    if share and across == "latency":
        ends = (
            horizontal(_cost(point, across) * (1 - share)),
            horizontal(_cost(point, across) * (1 + share)),
        )
        parts.append(_line(ends[0], y, ends[1], y, color, opacity=0.35))
    return "".join(parts)


def _cost(point: PointOn, across: Across) -> float:
    return bounded(latency_ratio(point) if across == "latency" else point.size_ratio)


def _written(point: PointOn) -> float:
    return bounded(point.drop / Formats.of(point.view).quality_scale)


def _line(x1: float, y1: float, x2: float, y2: float, color: str, *, opacity: float = 1.0) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{color}" stroke-opacity="{opacity}"/>'
