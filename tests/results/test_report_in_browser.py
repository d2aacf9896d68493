"""The report in a real browser: it draws, fits the screen, follows a click, and connects to nothing."""

import pytest
from autocompress.results.report import write_report
from autocompress.tests.browser import NEEDS_BROWSER, brightness_of_corner, told_in_frame
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two

# The last one: open what is closed, click a row, then tell the page around it what is there.
TELL = """<script>setTimeout(() => { document.querySelector(".experts details").open = true; }, 1000);
setTimeout(() => {
  const root = document.documentElement, charts = [...document.querySelectorAll(".chart")];
  document.querySelector("tr[data-trial='1']").click();
  parent.postMessage({
    errors: seen, width: root.clientWidth, content: root.scrollWidth, ready: root.dataset.ready,
    drawn: charts.filter((chart) => chart.querySelector(".main-svg")).length,
    widest: Math.max(...charts.map((chart) =>
      chart.querySelector(".main-svg").getBoundingClientRect().right)),
    layers: document.querySelectorAll("#layer-rows tr").length,
    first: document.querySelector("#layer-rows .chip").textContent,
    selected: document.querySelector("#point").value,
    command: document.querySelector("#command").textContent,
    history: document.querySelector("#chart-history .main-svg").getBoundingClientRect().width,
    connections: performance.getEntriesByType("resource").map((entry) => entry.name),
  }, "*");
}, 3000);</script>"""

pytestmark = NEEDS_BROWSER


def seen_in_browser(tmp_path, *, width, run=None, tell=TELL):
    """What the report says of itself in a frame of `width` pixels."""
    write_report(run or sample_run(), tmp_path / "report.html")
    return told_in_frame(tmp_path, tmp_path / "report.html", width=width, tell=tell)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_draws_everything_within_the_width_of_the_screen(tmp_path, width):
    seen = seen_in_browser(tmp_path, width=width)
    assert seen["errors"] == [] and seen["ready"] == "true"
    assert seen["width"] == width and seen["content"] <= width and seen["widest"] <= width
    assert seen["drawn"] == 4 and seen["layers"] == 20
    assert (seen["selected"], seen["first"]) == ("1", "int8")
    assert seen["command"].endswith(" --trial 1 --out bundle")
    assert 300 < seen["history"] <= width  # it was drawn while its section was closed
    assert seen["connections"] == []


def test_the_report_looks_different_in_the_dark(tmp_path):
    write_report(sample_run(), tmp_path / "report.html")
    light, dark = brightness_of_corner(tmp_path, tmp_path / "report.html")
    assert light > 600 and dark < 150


CHOOSE = """<script>setTimeout(() => {
  const chooser = document.querySelector("#target"), shown = () => [...document.querySelectorAll("header h1")]
    .filter((heading) => heading.offsetParent).map((heading) => heading.textContent);
  const before = shown();
  chooser.value = "1";
  chooser.dispatchEvent(new Event("change"));
  const points = document.querySelector("#point").textContent;
  parent.postMessage({ errors: seen, before, after: shown(), points }, "*");
}, 3000);</script>"""


def test_choosing_a_target_shows_its_numbers(tmp_path):
    seen = seen_in_browser(tmp_path, width=1280, run=sample_run_of_two(), tell=CHOOSE)
    assert seen["errors"] == [] and (seen["before"], seen["after"]) == (
        ["resnet20 on cpu"],
        ["resnet20 on edge"],
    )
    assert "4.964 ms" in seen["points"]  # four times the original's 1.241 ms
