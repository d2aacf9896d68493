"""A desk with one board, `edge`, which may be unplugged: searches of a tiny task that predict its latency; a
sample run of one.
"""

import textwrap
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from autocompress.profiles import PredictedLatency, TimingConfig
from autocompress.results.records import Predicted
from autocompress.results.run_directory import read_run
from autocompress.search.preparation.prepare import open_search, prepare
from autocompress.search.preparation.request import SearchRequest
from autocompress.search.session.progress import QuietProgress
from autocompress.tests.results.sample_run import sample_run
from autocompress.tests.search.boards import Board, target_on
from autocompress.tests.test_cli import TASK

QUICK = TimingConfig(pairs_min=2, pairs_max=2, pair_s=0.01, block_s=0.001, warmup_s=0.0, half_width=1.0)
SHEET = """
[datasheet]
peak_flops = { float32 = 1e9, int8 = 4e9 }
memory_bytes_per_s = 1e9
overhead_s = 1e-6
source = "a leaflet"
"""


class Desk:
    """`board` (`edge`) and another one (`cpu`) are on it; `search` returns the front.json of a search in
    `run`.
    """

    def __init__(self, folder: Path):
        self.folder, self.run, self.board = folder, folder / "run", Board(plugged=False)
        self.other = Board()
        (folder / "task.py").write_text(textwrap.dedent(TASK))
        (folder / "edge.toml").write_text(
            'inherits = "cpu"\nstorage_bits = []\nmemory_limit_bytes = 536870912\n' + SHEET
        )

    def search(
        self, *, allow: bool = True, trials: int = 3, targets: str = "edge.toml", **options: Any
    ) -> dict[str, Any]:
        target = ",".join(
            str(self.folder / name) if name.endswith(".toml") else name for name in targets.split(",")
        )
        request = SearchRequest(
            task=f"{self.folder / 'task.py'}:make",
            target=target,
            trials=trials,
            sampler="random",
            out=self.run,
            allow_predicted=allow,
            recovery=False,
            **options,
        )
        progress = QuietProgress()
        with open_search(prepare(request, progress), progress) as search:
            search.run()
            self.directory = search.directory.path
        return read_run(self.directory)


def make_desk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk, with short measurements that no noise can refuse."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for module in ("prepare.SEARCH_TIMING", "finalists.FINALIST_TIMING"):
        monkeypatch.setattr(f"autocompress.search.{module}", QUICK)
    monkeypatch.setattr("autocompress.targets.target.SEARCH_TIMING", QUICK)
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    monkeypatch.setattr("autocompress.evaluation.availability.PATIENCE_S", 1.0)
    desk = Desk(folder)
    boards = {"edge": desk.board, "cpu": desk.other, "cpu-avx2": Board()}
    monkeypatch.setattr("autocompress.evaluation.several.Target", target_on(boards))
    return desk


def predicted_run(change: Callable[[dict[str, Any]], None] = lambda run: None) -> dict[str, Any]:
    """The sample run as if nothing had been measured."""
    run = deepcopy(sample_run())
    source = {
        "source": "roofline of a leaflet",
        "error": None,
        "quality": "ONNX Runtime here ran the same files",
    }
    run["target"]["predicted"] = source
    run.pop("latency_table", None)
    for point in [run["baseline"], run["uniform_int8"], *run["front"], *run["dominated"]]:
        if "predicted_s" not in point["latency"]:
            seconds, ratio = point["latency"]["latency_s"], point["latency"]["ratio"]
            latency = PredictedLatency(seconds=seconds, source="roofline of a leaflet")
            point["latency"] = Predicted(latency=latency, ratio=ratio).to_json()
        point["indistinguishable_from"] = []
    change(run)
    return run
