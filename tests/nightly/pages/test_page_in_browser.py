"""The page of the nights in a real browser: it fits the screen, in the light and in the dark."""

from pathlib import Path

import pytest
from autocompress.nightly.pages.write import write_pages
from autocompress.tests.browser import NEEDS_BROWSER, brightness_of_corner, told_in_frame
from autocompress.tests.nightly.pages.many import many_nights

pytestmark = NEEDS_BROWSER


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write_pages(tmp_path / "pages", many_nights())[0]


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_width_of_the_screen(tmp_path: Path, page: Path, width: int) -> None:
    seen = told_in_frame(tmp_path, page, width=width)
    assert seen["errors"] == [] and seen["connections"] == []
    assert seen["width"] == width and seen["content"] <= width and 0 < seen["widest"] <= width
    assert seen["text"].index("jetson does not answer") < seen["text"].index("digits")


def test_the_page_looks_different_in_the_dark(tmp_path: Path, page: Path) -> None:
    light, dark = brightness_of_corner(tmp_path, page)
    assert light > 600 and dark < 150
