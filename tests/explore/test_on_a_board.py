"""A whole search on a board behind a real SSH server: what the line does to it, no candidate is lost, no
number is wrong.
"""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from autocompress.cli.commands import app
from autocompress.results.run_directory import read_run
from autocompress.targets.ssh.connection import Connection
from autocompress.targets.ssh.reply import Reply
from autocompress.tests.restless import SHORT
from autocompress.tests.sshd import Sshd
from autocompress.tests.waiting import comes_true
from typer.testing import CliRunner

TRIALS, DROPS = 4, 4


@contextmanager
def dropping(server: Sshd, monkeypatch: pytest.MonkeyPatch, *, times: int) -> Iterator[list[int]]:
    """Kills the connections a few times, soon after every third request began, or as soon as there is one
    then: no request is hit twice, however long it takes.

    Tells how many connections there were each time.
    """

    def drop() -> bool:
        count = server.kill_connections()
        dropped.extend([count] if count else [])
        return count > 0

    call, asked, timers, dropped = Connection.call, itertools.count(1), list[threading.Timer](), list[int]()

    def asking(self: Connection, op: str, **fields: Any) -> Reply:
        if op == "request" and next(asked) % 3 == 0 and len(timers) < times:
            timers.append(threading.Timer(0.2, lambda: comes_true(drop)))
            timers[-1].start()
        return call(self, op, **fields)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "call", asking)
        yield dropped
    for timer in timers:
        timer.join()


def reached(server: Sshd, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The target on the server, as one writes it on the command line."""
    server.put_on_path(folder, monkeypatch)
    (folder / "edge.toml").write_text(f'inherits = "cpu"\npython = "{server.python}"')
    return f"{folder}/edge.toml@127.0.0.1:{server.port}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_over_a_line_that_keeps_dropping_loses_no_candidate(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocompress.targets.control.TOLERANCE", 100.0)  # beside other tests
    for place in (
        "explore.preparation.open_search.SEARCH_TIMING",
        "explore.finalists.FINALIST_TIMING",
        "targets.target.SEARCH_TIMING",
    ):
        monkeypatch.setattr(f"autocompress.{place}", SHORT)
    target, path = reached(ssh_server, tmp_path, monkeypatch), tmp_path / "run"
    command = [
        "search",
        "--target",
        target,
        "--trials",
        str(TRIALS),
        "--sampler",
        "random",
        "--no-recovery",
        "--out",
        str(path),
    ]
    with dropping(ssh_server, monkeypatch, times=DROPS) as dropped:
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    run = read_run(path)
    assert len(dropped) == DROPS and all(dropped)
    assert run.failures == () and run.waiting == {}
    assert len(run.points) == TRIALS
    ssh_server.wait_until_quiet()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_board_is_calibrated_over_a_line_that_drops(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    target = reached(ssh_server, tmp_path, monkeypatch)
    command = ["targets", "calibrate", target, "digits", "--budget", "8s", "--json"]
    with dropping(ssh_server, monkeypatch, times=1) as dropped:
        done = CliRunner().invoke(app, [*command, "--check", "2"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    measured = report["calibration"]["measured"]
    assert (
        len(dropped) == 1
        and measured >= 1
        and report["calibration"]["failed"] == 0
        and report["before"]["count"] == 2
    )
    assert list((ssh_server.folder / "cache/autocompress/device/files").glob("*.onnx"))
    assert len(list((tmp_path / "cache/autocompress/latency").glob("*.json"))) == 1
    ssh_server.wait_until_quiet()
    again = json.loads(CliRunner().invoke(app, command).stdout)
    assert again["calibration"]["known"] == measured + 2
