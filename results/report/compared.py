"""A comparison of runs as a page of its own, and as a section of a report."""

from pathlib import Path

from ...files import write_text
from ...text.printable import escape
from ..compare import Comparison
from ..compare.view import comparison_html
from .resources import still_page


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Writes the page of `compare --html` to `path`, atomically: one file without a script or a network."""
    write_text(path, comparison_page(comparison))


def comparison_page(comparison: Comparison) -> str:
    """The page as HTML."""
    names = [side.label for side in comparison.sides]
    title = escape(f"{', '.join(names[:-1])} against {names[-1]}")
    body = (
        f'<header><p class="brand">autocompress</p><h1>{title}</h1></header>\n<section class="comparison">'
        f"<h2>What each policy picks</h2>{comparison_html(comparison)}</section>"
    )
    return still_page(title, body)


def comparison_section(comparison: Comparison | None) -> str:
    """The section of a report; empty without a comparison."""
    if comparison is None:
        return ""
    earlier = ", ".join(side.label for side in comparison.sides[:-1])
    return (
        f'<section class="comparison" aria-labelledby="compared"><h2 id="compared">Against {escape(earlier)}'
        f"</h2>{comparison_html(comparison)}</section>"
    )
