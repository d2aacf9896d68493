"""A desk with one board, `edge`, which may be unplugged: searches of a tiny task that predict its latency; a
sample run of one.
"""

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from autocompress.explore.preparation.open_search import open_search
from autocompress.explore.preparation.prepare import prepare
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.session.progress import QuietProgress
from autocompress.profiles import PredictedLatency, TimingConfig
from autocompress.results.records.facts import Prediction
from autocompress.results.records.latency import Latency, Predicted
from autocompress.results.records.point import Measured, Outcome
from autocompress.results.records.run import Run
from autocompress.results.run_directory import read_run
from autocompress.tests.explore.boards import Board, target_on
from autocompress.tests.results.sample_run import sample_run
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
    """`board` (`edge`) and another one (`cpu`) are on it; `search` returns what a search in `run`
    found.
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
    ) -> Run:
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
            self.directory = search.trials.directory.path
        return read_run(self.directory)


def make_desk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk, with short measurements that no noise can refuse."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for module in ("preparation.open_search.SEARCH_TIMING", "finalists.FINALIST_TIMING"):
        monkeypatch.setattr(f"autocompress.explore.{module}", QUICK)
    monkeypatch.setattr("autocompress.targets.target.SEARCH_TIMING", QUICK)
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)
    monkeypatch.setattr("autocompress.evaluation.availability.PATIENCE_S", 1.0)
    desk = Desk(folder)
    boards = {"edge": desk.board, "cpu": desk.other, "cpu-avx2": Board()}
    monkeypatch.setattr("autocompress.evaluation.targets.Target", target_on(boards))
    return desk


def predicted_run() -> Run:
    """The sample run as if nothing had been measured."""
    run = sample_run()
    prediction = Prediction(
        source="roofline of a leaflet", error=None, quality="ONNX Runtime here ran the same files"
    )
    targets = tuple(replace(target, prediction=prediction) for target in run.facts.targets)
    points = tuple(
        replace(point, outcomes={name: _predicted(outcome) for name, outcome in point.outcomes.items()})
        for point in run.points
    )
    return replace(
        run,
        facts=replace(run.facts, targets=targets),
        points=points,
        search=replace(run.search, latency_tables={}),
    )


def _predicted(outcome: Outcome) -> Outcome:
    if not isinstance(outcome, Measured) or not isinstance(outcome.latency, Latency):
        return outcome
    latency = PredictedLatency(seconds=outcome.latency.seconds, source="roofline of a leaflet")
    return replace(outcome, latency=Predicted(latency=latency, ratio=outcome.latency.ratio))
