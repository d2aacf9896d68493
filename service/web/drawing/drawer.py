"""The process that draws: a line of JSON for each front on stdin, its name on stdout when it is drawn.

python -m autocompress.service.web.drawing.drawer
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from ....errors import AutocompressError
from ....files import write_text
from ....results.choosing.recommended import recommended
from ....results.report import charts
from ....results.report.sections import failures, front_table
from ....results.run_directory import read_run
from ....results.view import RunOn, views_of
from ....text.printable import printable, printable_strings

_LESS_PRIORITY = 10


def draw(run_folder: Path, out: Path, name: str) -> None:
    """Writes charts.json and then page.json, which says that it is the front called `name`."""
    out.mkdir(parents=True, exist_ok=True)
    run = read_run(run_folder)
    view = views_of(run)[0]
    chosen = view.on(recommended(view.run).point)
    figures = {
        "latency": charts.plane(view, "latency", chosen=chosen),
        "size": charts.plane(view, "size", chosen=chosen),
        "history": charts.history(view),
    }
    page = {
        "name": name,
        "table": front_table(view, chosen=chosen),
        "failures": failures(run),
        "sliders": _sliders(view),
        "wrong": "",
    }
    write_text(out / "charts.json", json.dumps(printable_strings(figures), allow_nan=False))
    write_text(out / "page.json", json.dumps(page))


def _sliders(view: RunOn) -> list[dict[str, Any]]:
    """Limits between the best and the worst of the points."""
    points = [point for point in view.points if point.measured]
    seconds = [1e6 * _seconds(point.latency) for point in points]
    sizes = [point.artifact.size_bytes / 1024 for point in points]
    made = [
        _slider("max_latency", "Latency at most", seconds, "us"),
        _slider("max_size", "Size at most", sizes, "KB"),
    ]
    if view.task.metric.unit == "fraction":
        drops = [max(0.0, 100 * point.drop) for point in points]
        made.insert(0, _slider("max_drop", "Drop at most", [0.0, *drops], "pp"))
    return made


def _seconds(latency: Any) -> float:
    return float(getattr(latency, "latency_s", None) or latency.seconds)


def _slider(name: str, label: str, values: list[float], unit: str) -> dict[str, Any]:
    return {"name": name, "label": label, "least": min(values), "most": max(values) or 1.0, "unit": unit}


def main() -> None:
    """Draws what is asked for until stdin ends."""
    os.nice(_LESS_PRIORITY)
    for line in sys.stdin:
        asked = json.loads(line)
        out = Path(asked["out"])
        try:
            draw(Path(asked["run"]), out, asked["name"])
        except (AutocompressError, OSError, ValueError) as error:
            wrong = {"name": asked["name"], "wrong": printable(error)}
            write_text(out / "page.json", json.dumps({"table": "", "failures": "", "sliders": [], **wrong}))
        print(asked["name"], flush=True)


if __name__ == "__main__":
    main()
