"""Pages in a real browser, Chromium: what they say of themselves in a frame, and how they look."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from autocompress.tests.present import present
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDS_BROWSER = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium un-skips this"
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-unsafe-swiftshader", "--virtual-time-budget=8000"),
)
# The first script of a page: errors and refused connections are kept for the second one.
LISTEN = """<script>window.seen = [];
addEventListener("error", (event) => seen.push(event.message));
addEventListener("securitypolicyviolation", (event) => seen.push(event.blockedURI));</script>"""
# The last script of a page that has none of its own.
TELL_LAYOUT = """<script>setTimeout(() => {
  const root = document.documentElement, right = (node) => node.getBoundingClientRect().right;
  parent.postMessage({
    errors: seen, width: root.clientWidth, content: root.scrollWidth,
    charts: document.querySelectorAll("svg").length,
    widest: Math.max(0, ...[...document.querySelectorAll("svg")].map(right)),
    text: document.body.innerText,
    connections: performance.getEntriesByType("resource").map((entry) => entry.name),
  }, "*");
}, 500);</script>"""


def chromium(folder: Path, *arguments: str) -> str:
    """What Chromium prints."""
    command = [present(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments]
    short = {
        **os.environ,
        "TMPDIR": "/tmp",
    }  # of its socket, without which it aborts: TMPDIR may be too long for that
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True, env=short).stdout


def told_in_frame(folder: Path, path: Path, *, width: int, tell: str = TELL_LAYOUT) -> Any:
    """What the page says by the script `tell` in a frame of `width` pixels; Chromium's own windows are at
    least 500 wide. A page whose policy forbids scripts may run these.
    """
    page = path.read_text(encoding="utf-8").replace("<style>", LISTEN + "<style>", 1)
    page = page.replace(
        "default-src 'none'; style-src", "default-src 'none'; script-src 'unsafe-inline'; style-src"
    )
    (folder / "told.html").write_text(page.replace("</body>", tell + "</body>"), encoding="utf-8")
    frame = (
        f'<body><iframe src="told.html" style="border:0;width:{width}px;height:3000px"></iframe><pre></pre>'
    )
    hear = (
        'addEventListener("message", (e) => '
        '{ document.querySelector("pre").textContent = JSON.stringify(e.data); });'
    )
    (folder / "frame.html").write_text(f"{frame}<script>{hear}</script></body>", encoding="utf-8")
    document = chromium(folder, "--dump-dom", "--window-size=1400,3000", (folder / "frame.html").as_uri())
    sent = present(re.search(r"<pre>(.*?)</pre>", document, re.DOTALL))[1]
    return json.loads(unescape(sent))


def brightness_of_corner(folder: Path, path: Path) -> tuple[int, int]:
    """The sum of red, green and blue in a corner of the page, in the light and in the dark. Both pictures
    have the size of the window and more than a hundred colors.
    """
    corners = []
    for scheme in (1, 0):
        target = folder / f"{scheme}.png"
        settings = (
            f"--screenshot={target}",
            "--window-size=1280,1400",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        chromium(folder, *settings, path.as_uri())
        image = Image.open(target).convert("RGB")
        colors, corner = image.getcolors(1 << 21), image.getpixel((5, 5))
        assert image.size == (1280, 1400) and colors is not None and len(colors) > 100
        assert isinstance(corner, tuple)
        corners.append(sum(corner))
    return corners[0], corners[1]
