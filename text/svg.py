"""Parts of charts that are drawn as SVG, without a script."""

import math

from .printable import escape

_INK = "var(--soft, #6b7a89)"  # of the report's style sheet, with a value for where there is none


def round_numbers(low: float, high: float, *, most: int) -> list[float]:
    """Numbers for an axis from `low` to `high`: multiples of 1, 2 or 5 times a power of ten, about `most` at
    most, and never more than twice as many where the ends are too close for numbers to tell apart.
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [step * number for number in range(first, min(last, first + 2 * most) + 1)]


def svg_text(x: float, y: float, text: str, *, anchor: str = "middle") -> str:
    """A text element at a place in pixels; `anchor` is which part of the text lies there."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(text)}</text>'
