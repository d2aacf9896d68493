"""The report in a real browser: it draws, fits the screen, follows a click, and connects to nothing."""

import json
import os
import re
import shutil
import subprocess
from html import unescape

import pytest
from autocompress.results.report import write_report
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import sample_run, sample_run_of_two
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-unsafe-swiftshader", "--virtual-time-budget=8000"),
)
# The first script of the page: errors and refused connections are kept for the second one.
LISTEN = """<script>window.seen = [];
addEventListener("error", (event) => seen.push(event.message));
addEventListener("securitypolicyviolation", (event) => seen.push(event.blockedURI));</script>"""
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

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium un-skips this"
)


def chromium(tmp_path, *arguments):
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    short = {
        **os.environ,
        "TMPDIR": "/tmp",
    }  # of its socket, without which it aborts: TMPDIR may be too long for that
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True, env=short).stdout


def seen_in_browser(tmp_path, *, width, run=None, tell=TELL):
    """What the report says of itself in a frame of `width` pixels; Chromium's own windows are at least 500
    wide.
    """
    write_report(run or sample_run(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8").replace("<style>", LISTEN + "<style>", 1)
    (tmp_path / "told.html").write_text(page.replace("</body>", tell + "</body>"), encoding="utf-8")
    frame = (
        f'<body><iframe src="told.html" style="border:0;width:{width}px;height:3000px"></iframe><pre></pre>'
    )
    hear = (
        'addEventListener("message", (e) => '
        '{ document.querySelector("pre").textContent = JSON.stringify(e.data); });'
    )
    (tmp_path / "frame.html").write_text(f"{frame}<script>{hear}</script></body>", encoding="utf-8")
    document = chromium(tmp_path, "--dump-dom", "--window-size=1400,3000", (tmp_path / "frame.html").as_uri())
    sent = present(re.search(r"<pre>(.*?)</pre>", document, re.DOTALL))[1]
    return json.loads(unescape(sent))


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
    corners = []
    for scheme in (1, 0):
        target = tmp_path / f"{scheme}.png"
        settings = (
            f"--screenshot={target}",
            "--window-size=1280,1400",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        chromium(tmp_path, *settings, (tmp_path / "report.html").as_uri())
        image = Image.open(target).convert("RGB")
        colors, corner = image.getcolors(1 << 21), image.getpixel((5, 5))
        assert image.size == (1280, 1400) and colors is not None and len(colors) > 200
        assert isinstance(corner, tuple)
        corners.append(sum(corner))
    assert corners[0] > 600
    assert corners[1] < 150


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
