"""Commands as child processes: exit codes, errors, signals, time."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from autocompress.nightly.commands import Commands
from autocompress.tests.waiting import comes_true, ended


def python(folder: Path, code: str, **values):
    """How a command ends that is this Python code."""
    commands = Commands(folder, program=(sys.executable, "-c", code))
    return commands.run(["search"], log=folder / "log.txt", **values)


def test_the_last_line_of_json_is_the_result(tmp_path):
    done = python(tmp_path, 'print(\'{"event": "a"}\\n{"event": "result", "run": "x"}\')')
    assert (done.exit_code, done.last_object["run"]) == (0, "x")


def test_the_error_of_a_command_is_its_reason(tmp_path):
    done = python(tmp_path, "import sys; print('Error: no such task.', file=sys.stderr); sys.exit(2)")
    assert (done.exit_code, done.reason) == (2, "no such task.")
    assert "$ autocompress search" in (tmp_path / "log.txt").read_text()


def test_a_command_that_is_killed_says_by_which_signal(tmp_path):
    done = python(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (done.exit_code, "signal 9" in done.reason) == (-9, True)


def test_a_command_is_asked_to_stop_when_its_time_is_over(tmp_path):
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(130)); time.sleep(60)"
    done = python(tmp_path, code, seconds=1.0)
    assert done.stopped
    assert done.exit_code in (130, -15)  # before or after its handler was there


def test_a_bug_is_told_by_its_last_line(tmp_path):
    assert python(tmp_path, "raise KeyError('x')").reason == "KeyError: 'x'"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_command_ends_with_a_night_that_is_killed(tmp_path):
    code = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(60)"
    night = (
        "import sys; from pathlib import Path; from autocompress.nightly.commands import Commands; "
        f"Commands(Path.cwd(), program=(sys.executable, '-c', {code!r})).run(['search'], log=Path('log.txt'))"
    )
    process = subprocess.Popen([sys.executable, "-c", night], cwd=tmp_path)
    assert comes_true(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    process.kill()
    process.wait()
    assert comes_true(lambda: ended(int((tmp_path / "pid").read_text())))


def test_an_interrupted_night_stops_its_command_safely(tmp_path):
    code = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(15, lambda *_: (pathlib.Path('stopped').touch(), sys.exit(130)))\n"
        "pathlib.Path('began').touch(); time.sleep(60)"
    )
    commands = Commands(tmp_path, program=(sys.executable, "-c", code))

    def interrupt(number, frame):
        raise KeyboardInterrupt

    def when_it_began():
        if comes_true((tmp_path / "began").exists):
            os.kill(os.getpid(), signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, interrupt)
    watcher = threading.Thread(target=when_it_began)
    try:
        watcher.start()
        with pytest.raises(KeyboardInterrupt):
            commands.run(["search"], log=tmp_path / "log.txt")
    finally:
        watcher.join()
        signal.signal(signal.SIGUSR1, previous)
    assert (tmp_path / "stopped").exists()
