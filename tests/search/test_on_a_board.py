"""A whole search on a board behind a real SSH server: what the line does to it, no candidate is lost, no number is wrong."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from autocompress.cli import app
from autocompress.profiles import TimingConfig
from autocompress.tests.sshd import Sshd
from typer.testing import CliRunner

TRIALS, DROPS = 4, 4
SHORT = TimingConfig(pairs_min=2, pairs_max=2, pair_s=0.3, block_s=0.005, warmup_s=0.1, half_width=1.0)


@contextmanager
def dropping(server: Sshd, *, times: int, every_s: float) -> Iterator[list[int]]:
    """Kills the connections a few times; tells how many there were each time."""
    stop, dropped = threading.Event(), list[int]()

    def work() -> None:
        while len(dropped) < times and not stop.wait(every_s):
            if killed := server.kill_connections():
                dropped.append(killed)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield dropped
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_over_a_line_that_keeps_dropping_loses_no_candidate(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)  # beside other tests
    for place in ("search.prepare.SEARCH_TIMING", "search.finalists.FINALIST_TIMING", "targets.target.SEARCH_TIMING"):
        monkeypatch.setattr(f"autocompress.{place}", SHORT)
    ssh_server.put_on_path(tmp_path, monkeypatch)
    (tmp_path / "edge.toml").write_text(f'inherits = "cpu"\npython = "{ssh_server.python}"')
    target, run = f"{tmp_path}/edge.toml@127.0.0.1:{ssh_server.port}", tmp_path / "run"
    command = ["search", "--target", target, "--trials", str(TRIALS), "--sampler", "random", "--no-recovery", "--out", str(run)]
    with dropping(ssh_server, times=DROPS, every_s=3.0) as dropped:
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    front = json.loads((run / "front.json").read_text())
    assert len(dropped) == DROPS
    assert {failure["kind"] for failure in front["failures"]} == set()
    assert front["trials"]["finished"] + front["trials"]["failed"] == TRIALS and front["trials"]["finished"] >= 1
    ssh_server.wait_until_quiet()
