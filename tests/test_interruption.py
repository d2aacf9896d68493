"""Ctrl-C, SIGTERM and SIGHUP end a command at any moment, in the same way: one exit code, no traceback."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from autocompress.results.run_directory import RunDirectory
from autocompress.tests.test_cli import TASK
from autocompress.tests.waiting import comes_true, ended

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
SWALLOWS = """
import time
from pathlib import Path

count = 0
def turn():
    global count
    count += 1
    Path("turns").write_text(str(count))
    time.sleep(0.05)

try:
    while True:
        turn()
except BaseException:  # as libraries do around an optional import
    pass
Path("swallowed").touch()
while True:
    turn()
"""


def started(
    *arguments: str | Path,
    cwd: Path,
    before: tuple[str, ...] = (),
    module: str = "autocompress",
    **environment: str,
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*before, sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def ended_quietly(process: "subprocess.Popen[str]") -> bool:
    """Whether it ends as after Ctrl-C, with nothing said but perhaps that it was interrupted."""
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said and "Error" not in said, said
    return process.returncode == 130


def catches(process: "subprocess.Popen[str]", number: int) -> bool:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def has_mapped(process: "subprocess.Popen[str]", library: str) -> bool:
    return library in Path(f"/proc/{process.pid}/maps").read_text()


@SIGNALS
def test_a_signal_that_an_import_swallows_ends_the_command_all_the_same(tmp_path, number):
    (tmp_path / "task.py").write_text(SWALLOWS)
    search = started("search", "task.py:make", cwd=tmp_path)
    assert comes_true((tmp_path / "turns").exists)
    search.send_signal(number)
    assert ended_quietly(search) and (tmp_path / "swallowed").exists()


IMPORTED_FOREVER = """
import time
from pathlib import Path

Path("imported").touch()
time.sleep(600)
"""


@SIGNALS
def test_a_signal_in_the_first_moment_of_a_command_is_heeded(tmp_path, number):
    (tmp_path / "typer.py").write_text(IMPORTED_FOREVER)  # is found in its place: `-m` looks here first
    process = started("search", cwd=tmp_path)
    assert comes_true((tmp_path / "imported").exists)
    process.send_signal(number)
    assert ended_quietly(process)


@SIGNALS
def test_a_signal_while_torch_is_imported_is_heeded(tmp_path, number):
    process = started("search", cwd=tmp_path)
    assert comes_true(lambda: has_mapped(process, "libtorch_cpu"))
    process.send_signal(number)
    assert ended_quietly(process)


def test_a_signal_that_the_parent_has_it_ignore_stays_ignored(tmp_path):
    (tmp_path / "task.py").write_text(SWALLOWS)
    search = started("search", "task.py:make", cwd=tmp_path, before=("nohup",))
    turns = tmp_path / "turns"
    assert comes_true(turns.exists)
    search.send_signal(signal.SIGHUP)
    before = turns.read_text()
    assert comes_true(lambda: turns.read_text() not in (before, "")) and not (tmp_path / "swallowed").exists()
    search.send_signal(signal.SIGTERM)
    assert ended_quietly(search)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def ours(temporary: Path) -> list[Path]:
    """What is in a TMPDIR, but for what torch keeps there."""
    return [path for path in temporary.iterdir() if not path.name.startswith("torch")]


def measures(search: "subprocess.Popen[str]", run: Path, temporary: Path) -> bool:
    """Whether a trial is under way, the original being measured, with a worker that has its folder."""
    assert search.poll() is None, search.communicate()
    log = run / "log.jsonl"
    begun = log.is_file() and '"started"' in "".join(log.read_text().splitlines()[-1:])
    measured = (run / "front.json").is_file()
    return measured and begun and bool(children(search.pid)) and bool(ours(temporary))


@pytest.mark.serial
@pytest.mark.slow
def test_nothing_is_left_behind_by_sessions_that_are_killed_or_hung_up(tmp_path):
    (tmp_path / "task.py").write_text(textwrap.dedent(TASK))
    temporary, run = tmp_path / "tmp", tmp_path / "runs" / "tiny-cpu"
    temporary.mkdir()
    command = ("search", "task.py:make", "--trials", "500", "--no-recovery")
    killed = started(*command, cwd=tmp_path, module="autocompress.tests.restless", TMPDIR=str(temporary))
    assert comes_true(lambda: ours(temporary) and (run / "inputs").is_dir())
    orphans = children(killed.pid)
    killed.kill()
    killed.communicate()
    assert ours(temporary)
    assert comes_true(lambda: all(map(ended, orphans)))  # they hold what they made until then
    again = started(*command, cwd=tmp_path, module="autocompress.tests.restless", TMPDIR=str(temporary))
    (run / "log.jsonl").write_text("")
    assert comes_true(lambda: measures(again, run, temporary))
    workers = children(again.pid)
    again.send_signal(signal.SIGHUP)
    assert ended_quietly(again) and all(map(ended, workers))
    assert ours(temporary) == [] and not (run / "inputs").exists()
    assert list(tmp_path.rglob("*.part")) == []
    assert json.loads((run / "front.json").read_text())["status"] == "interrupted"
    with RunDirectory.hold(run, by="a test"):
        pass
