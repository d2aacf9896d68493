"""The run directory: continuing, changed identities, locks, disks that cannot be written."""

import errno
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import replace

import pytest
from autocompress.errors import RunDirectoryError
from autocompress.explore.session import clock
from autocompress.explore.session.clock import Clock
from autocompress.results.run_directory import (
    RunConfig,
    RunDirectory,
    choose_run,
    read_kept,
    read_run,
    write_kept,
)
from autocompress.tests.waiting import comes_true

CONFIG = RunConfig(identity={"task": "fake", "model": "m", "data": "d"}, options={})


def changed(**identity):
    return replace(CONFIG, identity={**CONFIG.identity, **identity})


def open_and_close(path, config=CONFIG, *, fresh=False):
    with RunDirectory.open(path, config, fresh=fresh) as directory:
        return directory


def test_the_same_configuration_continues_the_run(tmp_path):
    assert not open_and_close(tmp_path / "run").resumed
    again = open_and_close(tmp_path / "run")
    assert again.resumed and again.path == tmp_path / "run"


def test_a_changed_model_starts_a_new_run_and_says_what_changed(tmp_path):
    open_and_close(tmp_path / "run")
    other = open_and_close(tmp_path / "run", changed(model="other"))
    assert other.path.name == "run-2" and other.changed == ("model",) and not other.resumed


def test_each_configuration_finds_its_own_run_again(tmp_path):
    open_and_close(tmp_path / "run")
    open_and_close(tmp_path / "run", changed(model="other"))
    assert open_and_close(tmp_path / "run").path.name == "run"
    assert open_and_close(tmp_path / "run", changed(model="other")).path.name == "run-2"
    assert open_and_close(tmp_path / "run", changed(data="new")).path.name == "run-3"


def test_fresh_starts_beside_an_existing_run_and_is_continued_from_then_on(tmp_path):
    open_and_close(tmp_path / "run")
    assert open_and_close(tmp_path / "run", fresh=True).path.name == "run-2"
    assert open_and_close(tmp_path / "run").path.name == "run-2"


def test_options_may_change_from_call_to_call(tmp_path):
    open_and_close(tmp_path / "run")
    path = open_and_close(tmp_path / "run", replace(CONFIG, options={"seed": 1, "note": 'a "b"\n\\'})).path
    assert tomllib.loads((path / "run.toml").read_text())["options"] == {"seed": 1, "note": 'a "b"\n\\'}


def test_a_run_of_another_task_is_refused(tmp_path):
    open_and_close(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="belongs to the task 'fake', not to 'other': give --out"):
        open_and_close(tmp_path / "run", changed(task="other"))


def test_a_directory_with_other_things_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunDirectoryError, match="is no run directory"):
        open_and_close(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]


def test_other_targets_are_the_one_reason_that_is_told(tmp_path):
    first = {"task": "fake", "target": "cpu,edge", "environment.cores": "(1,)", "edge profile": "p"}
    other = {"task": "fake", "target": "edge", "environment.cores": "(2,)"}
    with RunDirectory.open(tmp_path / "run", RunConfig(identity=first, options={})):
        pass
    with RunDirectory.open(tmp_path / "run", RunConfig(identity=other, options={})) as directory:
        assert (directory.path.name, directory.changed) == ("run-2", ("target",))


def test_a_second_search_on_the_same_directory_is_refused(tmp_path):
    with (
        RunDirectory.open(tmp_path / "run", CONFIG),
        pytest.raises(
            RunDirectoryError, match=rf"in use by autocompress search \(process {os.getpid()}\): wait"
        ),
    ):
        open_and_close(tmp_path / "run")


def test_a_run_that_is_being_verified_is_not_searched_meanwhile(tmp_path):
    open_and_close(tmp_path / "run")
    with (
        RunDirectory.hold(tmp_path / "run", by="verify"),
        pytest.raises(
            RunDirectoryError,
            match=r"in use by autocompress verify \(process \d+\): wait for it, stop it, or give --out",
        ),
    ):
        open_and_close(tmp_path / "run")


def test_a_run_that_cannot_be_written_to_is_no_reason_to_give_another_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match=r"cannot be written \(.*\): make it writable\.$"):
        RunDirectory.hold(tmp_path / "file" / "run", by="verify")


def test_what_a_search_would_do_is_told_without_its_environment_and_writes_nothing(tmp_path):
    known = changed(**{"environment.cores": "4", "edge environment.cores": "2"})
    assert choose_run(tmp_path / "run", known, fresh=False) == (tmp_path / "run", False, ())
    assert not list(tmp_path.iterdir())
    open_and_close(tmp_path / "run", known)
    assert choose_run(tmp_path / "run", CONFIG, fresh=False) == (tmp_path / "run", True, ())
    other = changed(**{"environment.cores": "8"})
    assert choose_run(tmp_path / "run", other, fresh=False) == (
        tmp_path / "run-2",
        False,
        ("environment.cores",),
    )
    assert choose_run(tmp_path / "run", known, fresh=True) == (tmp_path / "run-2", False, ())


def test_the_lock_of_a_killed_search_is_free(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from autocompress.results.run_directory import *;"
        "config = RunConfig(identity={'task': 'fake', 'model': 'm', 'data': 'd'}, options={});"
        "RunDirectory.open(Path(sys.argv[1]), config);"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert killed.returncode == -9 and (tmp_path / "run" / "run.toml").is_file()
    assert open_and_close(tmp_path / "run").resumed


@pytest.mark.parametrize("place", ["file/run", "/proc/run", "/sys/run"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match=r"cannot be (written|used)|is no run directory"):
        open_and_close(tmp_path / place)


def test_a_full_disk_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(RunDirectoryError, match="has only 0 MB left"):
        open_and_close(tmp_path / "run")


def test_a_disk_that_fills_up_while_it_is_probed_is_one_sentence(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(RunDirectoryError, match=r"No space left on device.*free some space"):
        open_and_close(tmp_path / "run")


@pytest.mark.parametrize(
    "content",
    [
        b"[identity\n",
        b"",
        b"\xff",
        b"identity = 1\n[options]\n",
        b"[identity]\ntask = 1\n[options]\n",
        b"[identity]\n",
        b"x = " + b"[" * 100_000,
    ],
    ids=["cut", "empty", "bytes", "type", "number", "no-options", "deep"],
)
def test_a_damaged_run_toml_is_named(tmp_path, content):
    path = open_and_close(tmp_path / "run").path
    (path / "run.toml").write_bytes(content)
    with pytest.raises(
        RunDirectoryError, match=r"run\.toml cannot be read \(.*\): restore it, or give --out"
    ):
        open_and_close(tmp_path / "run")


@pytest.mark.parametrize("content", [None, "{"])
def test_a_run_without_a_readable_front_is_refused(tmp_path, content):
    path = open_and_close(tmp_path / "run").path
    if content is not None:
        (path / "front.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"no front.json yet|front\.json: is no JSON"):
        read_run(path)
    with pytest.raises(RunDirectoryError, match="is no run directory"):
        read_run(tmp_path / "nowhere")


def test_a_number_that_is_not_finite_never_reaches_a_file(tmp_path):
    with RunDirectory.open(tmp_path / "run", CONFIG) as directory:
        with pytest.raises(ValueError, match="JSON compliant"):
            directory.write_json("front.json", {"value": float("nan")})
        assert not (directory.path / "front.json").exists()


def test_elapsed_time_adds_up_over_sessions(tmp_path):
    sessions_s = 0.0
    for _ in range(2):
        start = time.monotonic()
        with Clock(tmp_path / "elapsed"):
            time.sleep(0.2)
        sessions_s += time.monotonic() - start
        time.sleep(0.2)  # does not count
    stored_s = float((tmp_path / "elapsed").read_text().split()[0])
    assert 0.4 <= stored_s <= sessions_s + 0.01  # it is rounded
    assert Clock(tmp_path / "elapsed").elapsed_s >= stored_s


@pytest.mark.parametrize("content", [b"", b"9", b"\xff", b"nan\n", b"1e999\n", b"60.000 " + b"0" * 64])
def test_a_damaged_clock_says_that_it_counts_anew(tmp_path, content, caplog):
    (tmp_path / "elapsed").write_bytes(content)
    assert Clock(tmp_path / "elapsed").elapsed_s < 30
    assert "elapsed is damaged" in caplog.text


def test_the_clock_of_an_earlier_version_goes_on(tmp_path):
    (tmp_path / "elapsed").write_text("60.000\n")
    assert Clock(tmp_path / "elapsed").elapsed_s >= 60


def test_a_kept_file_that_is_damaged_is_left_out_with_a_note(tmp_path, caplog):
    path = tmp_path / "kept.json"

    def read(fields):
        return fields.number("seconds")

    write_kept(path, {"seconds": 1.5})
    assert read_kept(path, read) == 1.5
    path.write_text(path.read_text().replace("1.5", "7.5"))
    assert read_kept(path, read) is None and "what it had is made again" in caplog.text
    path.unlink()
    path.mkdir()
    assert read_kept(path, read) is None
    write_kept(path, {"seconds": 2.5})
    assert read_kept(path, read) == 2.5


def test_a_killed_session_loses_at_most_a_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "HEARTBEAT_S", 0.02)
    kept = tmp_path / "elapsed"
    with Clock(kept):
        assert comes_true(lambda: kept.exists() and float(kept.read_text().split()[0]) > 0.2)
