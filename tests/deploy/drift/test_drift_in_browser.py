"""The page of `drift --html` in a real browser: it fits the screen, in the light and in the dark."""

from pathlib import Path

import pytest
from autocompress.deploy.drift.judge import drift_of
from autocompress.deploy.drift.page import write_drift
from autocompress.tests.browser import NEEDS_BROWSER, brightness_of_corner, told_in_frame
from autocompress.tests.deploy.drift.used import bundle_of, normal, used

pytestmark = NEEDS_BROWSER


@pytest.fixture
def page(tmp_path: Path) -> Path:
    bundle = bundle_of(tmp_path)
    used(bundle, tmp_path / "log.jsonl", lambda random: normal(random) + 1, count=400)
    write_drift(drift_of(bundle, [tmp_path / "log.jsonl"]), tmp_path / "page.html")
    return tmp_path / "page.html"


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_the_width_of_the_screen(tmp_path: Path, page: Path, width: int) -> None:
    seen = told_in_frame(tmp_path, page, width=width)
    assert seen["errors"] == [] and seen["connections"] == []
    assert seen["width"] == width and seen["content"] <= width and 0 < seen["widest"] <= width
    assert seen["charts"] == 6 and "no longer holds: accuracy" in seen["text"]


def test_the_page_looks_different_in_the_dark(tmp_path: Path, page: Path) -> None:
    light, dark = brightness_of_corner(tmp_path, page)
    assert light > 600 and dark < 150
