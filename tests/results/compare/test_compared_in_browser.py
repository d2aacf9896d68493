"""The page of a comparison in a real browser: it fits the screen, in the light and in the dark."""

from pathlib import Path

import pytest
from autocompress.results.compare import Side, compare
from autocompress.results.report import write_report
from autocompress.results.report.compared import write_comparison
from autocompress.tests.browser import (
    NEEDS_BROWSER,
    TELL_LAYOUT,
    brightness_of_corner,
    told_in_frame,
)
from autocompress.tests.results.compare.later import measured_again
from autocompress.tests.results.sample_run import sample_run

TELL_LATE = TELL_LAYOUT.replace("}, 500);", "}, 3000);")  # the charts of a report are drawn by its script

pytestmark = NEEDS_BROWSER


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Three nights, the last slower, under a name as long as a path may be."""
    run = sample_run()
    nights = {"a/" * 60 + "mon": run, "tue": measured_again(run), "wed": measured_again(run, latency=1.2)}
    sides = [Side(label=label, run=night) for label, night in nights.items()]
    write_comparison(compare(sides), tmp_path / "page.html")
    return tmp_path / "page.html"


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_width_of_the_screen(tmp_path: Path, page: Path, width: int) -> None:
    seen = told_in_frame(tmp_path, page, width=width)
    assert seen["errors"] == [] and seen["connections"] == []
    assert seen["width"] == width and seen["content"] <= width and 0 < seen["widest"] <= width
    assert seen["charts"] == 4 and "Worse: fastest within 1pp" in seen["text"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_a_report_shows_an_earlier_run_within_the_width_of_the_screen(tmp_path: Path, width: int) -> None:
    old, new = sample_run(), measured_again(sample_run(), latency=1.2)
    against = compare([Side(label="mon", run=old), Side(label="tue", run=new)])
    write_report(new, tmp_path / "report.html", against=against)
    seen = told_in_frame(tmp_path, tmp_path / "report.html", width=width, tell=TELL_LATE)
    assert seen["errors"] == [] and seen["connections"] == []
    assert seen["content"] <= width and 0 < seen["widest"] <= width
    assert "Against mon" in seen["text"] and "Worse: fastest within 1pp" in seen["text"]


def test_the_page_looks_different_in_the_dark(tmp_path: Path, page: Path) -> None:
    light, dark = brightness_of_corner(tmp_path, page)
    assert light > 600 and dark < 150
