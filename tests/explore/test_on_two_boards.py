"""A whole search on two boards of a kind, of which one is switched off in the middle of a candidate."""

import json
from pathlib import Path
from typing import Any

import pytest
from autocompress.cli.commands import app
from autocompress.evaluation.answers import Answers, Examiner
from autocompress.evaluation.bench import Bench
from autocompress.results.run_directory import read_run
from autocompress.tests.restless import SHORT
from autocompress.tests.sshd import Sshd
from autocompress.tests.targets.models import QUICK
from autocompress.tests.targets.pool.two_boards import another_board, reached
from autocompress.tests.waiting import SEARCH_PATIENCE_S
from typer.testing import CliRunner

TRIALS, LAST_ON_THE_FIRST = 5, 3


@pytest.mark.slow
@pytest.mark.timeout(SEARCH_PATIENCE_S)
def test_a_search_goes_on_without_a_candidate_less_when_one_of_its_boards_is_switched_off(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)  # beside other tests
    monkeypatch.setattr("autocompress.targets.pool.alike.TOLERANCE", 100.0)
    monkeypatch.setattr("autocompress.targets.pool.alike.TIMING", QUICK)
    for place in (
        "explore.preparation.open_search.SEARCH_TIMING",
        "explore.finalists.FINALIST_TIMING",
        "targets.target.SEARCH_TIMING",
    ):
        monkeypatch.setattr(f"autocompress.{place}", SHORT)
    monkeypatch.setattr("autocompress.evaluation.availability.PAUSES_S", (1e9,))  # no wait would do
    latency, seen, run = Bench._latency, list[str](), tmp_path / "run"
    answers, answered = Examiner.answers, list[str]()
    with another_board() as first:
        target = reached(first, ssh_server, tmp_path, monkeypatch)

        def measuring(self: Bench, *arguments: Any) -> Any:
            seen.append("")
            if len(seen) == LAST_ON_THE_FIRST + 1:
                first.stop()
            return latency(self, *arguments)

        def answering(self: Examiner, *arguments: Any, **options: Any) -> Answers:
            answered.append("")
            return answers(self, *arguments, **options)

        monkeypatch.setattr(Bench, "_latency", measuring)
        monkeypatch.setattr(Examiner, "answers", answering)
        options = ["--sampler", "random", "--no-recovery", "--trials", str(TRIALS), "--out", str(run)]
        done = CliRunner().invoke(app, ["search", "digits", "--target", target, *options])
        first.start()
    assert done.exit_code == 0, done.output
    points = read_run(run).points
    assert len(points) == TRIALS and read_run(run).failures == () and read_run(run).waiting == {}
    facts = json.loads((run / "front.json").read_text())
    assert [one["name"] for one in facts["targets"]] == ["edge"]
    told = json.dumps([facts["points"], facts["targets"]])
    assert "right" not in told and str(ssh_server.port) not in told
    assert len(seen) == TRIALS + 1, "the candidate on the first board was measured once more"
    assert len(answered) == TRIALS, "and what it had answered was kept"
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [one["trial"] for one in events if one["event"] == "finished"] == [*range(TRIALS)]
